-- due returns the due entries of a shard, and checks that the namespace has as many shards as the
-- engine.
-- KEYS: index, number of shards. ARGV: number of shards, how many entries to skip, and how many
-- to return at most.

local text = redis.pcall('GET', KEYS[2])
local failed = refused(text, 'it')
if failed then
	return failed
end
if not text then
	redis.call('SET', KEYS[2], ARGV[1]) -- the store is new or has lost its state
elseif text ~= ARGV[1] then
	return broken('the namespace has ' .. sub(text, 1, 20) .. ' shards, and this engine ' .. ARGV[1])
end

local now = clock()
local due = redis.pcall('ZRANGE', KEYS[1], '-inf', digits(now), 'BYSCORE', 'LIMIT', ARGV[2], ARGV[3], 'WITHSCORES')
failed = refused(due, '')
if failed then
	return failed.err and failed or { 1, now } -- a broken index must not hide the others
end
local later = redis.call('ZRANGE', KEYS[1], '(' .. digits(now), '+inf', 'BYSCORE', 'LIMIT', '0', '1', 'WITHSCORES')
return { 1, now, due, later }
