-- This is State.Claim.
-- ARGV: key, id, its hash, age (-1 means none, and -2 a new call), by, seen, spacing, lease, policy

local id, hash, age = ARGV[2], ARGV[3], ARGV[4] + 0

if token >= MAX_NUMBER or now >= MAX_NUMBER or requested >= MAX_NUMBER then
	return { 0, 'no higher number is left' }
end
local before, verdict = policy, nil
if owner == id and now < lease_end then
	verdict = GRANTED -- the client sends the claim again, as the reply was lost
else
	local again = find(ids, hash, 1, true)
	if not again then
		if #ids == MAX_IDS * ENTRY then
			ids = sub(ids, ENTRY + 1)
		end
		local time = clock[1] .. clock[2]
		if #time < ENTRY - HASH then
			time = format('%016.0f', now)
		end
		ids, ids_changed = ids .. hash .. time, true
		if requested <= taken and (age == -2 or age >= 0 and (granted == 0 or now - age >= granted)) then
			if requested <= acknowledged and next < now then
				span, next = 0, now
			end
			requested, numbers_changed = taken + 1, true
		end
	end
	if requested <= acknowledged then
		verdict = SERVED
	elseif not again and now <= ARGV[5] + 0 and now >= next and (owner == '' or now >= lease_end) then
		verdict, numbers_changed = GRANTED, true
		token = max(token + 1, now, ARGV[6] + 1)
		taken, owner, granted = requested, id, now
		lease, span = ARGV[8] + 0, ARGV[7] + 0
		lease_end, next = now + lease, now + span
		policy = ARGV[9]
	else
		verdict = DEFERRED
	end
end

-- include save.lua

-- The engine derives the rest of the reply from the numbers. The texts are left out if there is no
-- ending, and if the policy is the claim's own.
if before ~= ARGV[9] then
	return { verdict, now, numbers, ending, before }
elseif ending ~= '' then
	return { verdict, now, numbers, ending }
end
return { verdict, now, numbers }
