-- This is State.Finish.
-- ARGV: key, channel, token, ran, failed, message, again, delay, failures

local token, delay = tonumber(ARGV[3]), tonumber(ARGV[8])

local now = clock()
local s, failed = load()
if failed then
	return failed
end
enter(s, now)
local stale = s.owner == '' or token ~= s.token
if not stale then
	s.owner = ''
	if ARGV[4] == '1' then
		s.from, s.through, s.last_token = s.acknowledged, s.taken, s.token
		s.failed, s.message = tonumber(ARGV[5]), ARGV[6]
		s.acknowledged, s.failures = s.taken, tonumber(ARGV[9])
	end
	if ARGV[7] == '1' then
		s.requested = max(s.requested, s.taken + 1)
	end
	if delay > 0 and now + delay > s.next then
		s.span, s.next = delay, now + delay
	end
end
if not s.new then
	failed = save(s)
	if failed then
		return failed
	end
end
if stale then
	return { 1, 1, 0, 0, now }
end
local due = due_at(s)
local poll = due and max(0, due - now)
-- The server may forbid this. Only promptness depends on it.
redis.pcall('PUBLISH', ARGV[2], digits(poll or -1) .. ' ' .. ARGV[1])
return { 1, 0, due and 1 or 0, poll or 0, now }
