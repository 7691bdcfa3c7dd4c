-- This deletes the state and its entry in the index.
-- KEYS: state, index. ARGV: key

local done = redis.pcall('ZREM', KEYS[2], ARGV[1])
if type(done) == 'table' then
	return string.find(done.err, 'WRONGTYPE', 1, true) and { 0, 'its index has another type' } or done
end
redis.call('UNLINK', KEYS[1])
return { 1 }
