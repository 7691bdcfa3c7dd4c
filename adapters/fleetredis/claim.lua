-- This is State.Claim.
-- ARGV: key, id, its hash, new, age (-1 means none), by, seen, spacing, lease, policy; and if there is
-- a quiet time: it, the longest wait (0 means no limit), and the age of the first call (0 or more)

local id, hash, age, quiet = ARGV[2], ARGV[3], ARGV[5] + 0, ARGV[11]

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
		-- Without a quiet time, a call that joins changes nothing.
		if (requested <= taken or quiet)
			and (ARGV[4] == '1' or age >= 0 and (granted == 0 or now - age >= granted)) then
			if requested <= acknowledged and next < now then
				span, next = 0, now
			end
			if quiet then -- this is State.postpone
				if requested <= taken and (taken == acknowledged or owner ~= '' and now < lease_end) then
					limit = 0
				end
				local postponed = now + quiet - max(0, age)
				if ARGV[12] ~= '0' then
					local latest = now + ARGV[12]
					if limit == 0 then
						limit, numbers_changed = max(1, latest - ARGV[13]), true
					end
					if latest < limit then -- the clock may have stepped back
						limit, numbers_changed = latest, true
					end
				end
				if limit > 0 and limit < postponed then
					postponed = limit
				end
				if postponed > next and postponed > now then
					span, next, numbers_changed = postponed - now, postponed, true
				end
			end
			if requested <= taken then
				requested, numbers_changed = taken + 1, true
			end
		end
	end
	if requested <= acknowledged then
		verdict = SERVED
	elseif not again and now <= ARGV[6] + 0 and now >= next and (owner == '' or now >= lease_end) then
		verdict, numbers_changed = GRANTED, true
		token = max(token + 1, now, ARGV[7] + 1)
		taken, owner, granted = requested, id, now
		lease, span = ARGV[9] + 0, ARGV[8] + 0
		lease_end, next = now + lease, now + span
		policy = ARGV[10]
	else
		verdict = DEFERRED
	end
end

-- include save.lua

-- The engine derives the rest of the reply from the numbers. The texts are left out if there is no
-- ending, and if the policy is the claim's own.
if before ~= ARGV[10] then
	return { verdict, now, numbers, ending, before }
elseif ending ~= '' then
	return { verdict, now, numbers, ending }
end
return { verdict, now, numbers }
