-- What is due of a shard, and whether it is one of as many as the engine has.
-- KEYS: index, number of shards. ARGV: number of shards, how many entries to
-- leave out, and to return at most.

local text = redis.pcall('GET', KEYS[2])
local failed = refused(text, 'it')
if failed then
	return failed
end
if not text then
	redis.call('SET', KEYS[2], ARGV[1]) -- a new store, or one that has lost its state
elseif text ~= ARGV[1] then
	return broken('its shards are ' .. sub(text, 1, 20) .. ', and ' .. ARGV[1] .. ' in this engine')
end

local now = clock()
local due = redis.pcall('ZRANGE', KEYS[1], '-inf', digits(now), 'BYSCORE', 'LIMIT', ARGV[2], ARGV[3], 'WITHSCORES')
failed = refused(due, '')
if failed then
	return failed.err and failed or { 1, now } -- an index that is none hides no other
end
local later = redis.call('ZRANGE', KEYS[1], '(' .. digits(now), '+inf', 'BYSCORE', 'LIMIT', '0', '1', 'WITHSCORES')
return { 1, now, due, later }
