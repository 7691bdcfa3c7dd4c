-- This is State.Renew.
-- ARGV: key, token

local now = clock()
local s, failed = load()
if failed then
	return failed
end
enter(s, now)
local held = s.owner ~= '' and tonumber(ARGV[2]) == s.token
if held then
	s.lease_end = now + s.lease
end
if not s.new then
	failed = save(s)
	if failed then
		return failed
	end
end
return { 1, held and 1 or 0 }
