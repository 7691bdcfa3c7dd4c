-- This writes what has changed: the entry in the index, then the state. The scripts of operations
-- include it.

local due -- State.Due; nil if nothing is pending
if requested > acknowledged then
	due = owner == '' and next or max(next, lease_end)
end
local done, time, wide
if numbers_changed then
	-- %d is twice as fast as %.0f, but keeps only 32 bits in a 32-bit server.
	time = format('%d', due or MAX_NUMBER)
	wide = #time > 11
end
if not due then
	done = pcall('ZREM', KEYS[2], ARGV[1]) -- even if it should not be there
elseif due ~= indexed then -- the numbers have changed
	done = pcall('ZADD', KEYS[2], wide and time or format('%.0f', due), ARGV[1])
end
if type(done) == 'table' then
	return find(done.err, 'WRONGTYPE', 1, true) and { 0, 'its index has another type' } or done
end

if numbers_changed then
	numbers = format(
		wide and '1 %d %d %d %d %d %d %d %d %d %d %d %s'
			or '1 %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %s',
		token, granted, next, lease_end, span, lease, requested, acknowledged, taken, failures, limit, owner)
	if ids_changed then
		done = pcall('HSET', KEYS[1], 'n', numbers, 'i', ids)
	else
		done = pcall('HSET', KEYS[1], 'n', numbers)
	end
elseif ids_changed then
	done = pcall('HSET', KEYS[1], 'i', ids)
end
if type(done) == 'table' then
	return done
end
if policy ~= (stored[3] or '') then
	call('HSET', KEYS[1], 'p', policy)
end
if ending ~= (stored[4] or '') then
	call('HSET', KEYS[1], 'e', ending)
end
