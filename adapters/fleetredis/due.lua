-- This looks at the index of a shard, and checks that the namespace has as many shards as the
-- engine. What it costs does not depend on how many entries are due.
-- KEYS: index, number of shards. ARGV: number of shards, a random number

local text = redis.pcall('GET', KEYS[2])
if type(text) == 'table' then
	return string.find(text.err, 'WRONGTYPE', 1, true) and { 0, 'it has another type' } or text
end
if not text then
	redis.call('SET', KEYS[2], ARGV[1]) -- the store is new or has lost its state
elseif text ~= ARGV[1] then
	return { 0, 'the namespace has ' .. string.sub(text, 1, 20) .. ' shards, and this engine ' .. ARGV[1] }
end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local count = redis.pcall('ZCOUNT', KEYS[1], '-inf', string.format('%.0f', now))
if type(count) == 'table' then
	-- A broken index must not hide the others.
	return string.find(count.err, 'WRONGTYPE', 1, true) and { 1, now } or count
end

-- Entries are found by their ranks. To skip entries in the order of their scores would take as long
-- as to read them.
local function range(first, last)
	return redis.call('ZRANGE', KEYS[1], first, last, 'WITHSCORES')
end
local next = range(count, count) -- the first entry that is not due
if count <= MAX_DUE then
	return { 1, now, count, next, count > 0 and range(0, count - 1) or {} }
end
local oldest = range(0, 0)
local first = ARGV[2] % count
local some = range(first, math.min(first + MAX_DUE, count) - 1)
local rest = {} -- from the beginning on, if some come to the end
if first + MAX_DUE > count then
	rest = range(0, first + MAX_DUE - count - 1)
end
return { 1, now, count, next, some, rest, oldest }
