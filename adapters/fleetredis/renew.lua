-- This is State.Renew.
-- ARGV: key, token

if not numbers then
	return { 1, 0 }
end
local held = owner ~= '' and ARGV[2] + 0 == token
if held then
	lease_end, numbers_changed = now + lease, true
end

-- include save.lua

return { 1, held and 1 or 0 }
