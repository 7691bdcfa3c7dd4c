-- This is State.Finish.
-- ARGV: key, channel, token, ran, failed and message with a blank between them, again, delay,
-- failures

local delay = ARGV[7] + 0
if not numbers then
	return { 1, now } -- stale
end
local stale = owner == '' or ARGV[3] + 0 ~= token
if not stale then
	owner, numbers_changed = '', true
	if ARGV[4] == '1' then
		ending = format('%.0f ', acknowledged) .. ARGV[3] .. ' ' .. ARGV[5]
		acknowledged, failures = taken, ARGV[8] + 0
	end
	if ARGV[6] == '1' then
		if requested <= taken then
			limit = 0
		end
		requested = max(requested, taken + 1)
	end
	if delay > 0 and now + delay > next then
		span, next = delay, now + delay
	end
	if requested > acknowledged and next < now then
		span, next = 0, now
	end
end

-- include save.lua

if stale then
	return { 1, now }
end
local poll = due and max(0, due - now) or -1
-- The server may forbid this. Only promptness depends on it.
pcall('PUBLISH', ARGV[2], format('%.0f ', poll) .. ARGV[1])
return { 1, now, poll }
