-- This returns the fields of the state as they are stored, or nothing if there is no state.
-- ARGV: key

if not numbers then
	return { 1 }
end
return { 1, numbers, stored[2] or '', policy, ending }
