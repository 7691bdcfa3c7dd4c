-- This reads the state of a key (machine.State), and makes it valid. It is the first part of each
-- operation on a key: the engine puts the limits of package machine above this text, and the script
-- of the operation below it. KEYS are the state and the index, ARGV[1] is the key's name. Times and
-- durations are in microseconds.
--
-- A script does everything that can fail before it writes, because the server does not undo a
-- script that fails half-way. It makes few functions and few long strings, which would take most of
-- its time.

local call, pcall = redis.call, redis.pcall
local find, format, match, max, sub = string.find, string.format, string.match, math.max, string.sub

-- A stored state is a hash. The fields other than n are missing if they are empty.
--
--	n  the version of the format, eleven numbers, and the owner, with blanks between them
--	i  the identifiers, the oldest first; each is a hash of 8 bytes and its time in 16 digits
--	p  the policy
--	e  the last ending: From, Token, Failed and the message, with blanks between them; its
--	   Through is what is acknowledged
--
-- If no engine can have written it, the reply is { 0, reason }, which the engine turns into a
-- *fleet.StateError.
local NUMBERS = '^1 (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) ([%w%-]*)$'
local ENDING = '^(%d+) (%d+) [01] ()%Z*$'
local HASH, ENTRY = 8, 24

local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]

local stored = pcall('HMGET', KEYS[1], 'n', 'i', 'p', 'e')
if stored.err then
	-- Any other error, such as that of a server without memory, says nothing of the state.
	return find(stored.err, 'WRONGTYPE', 1, true) and { 0, 'it has another type' } or stored
end
local numbers, ids, policy, ending = stored[1], stored[2] or '', stored[3] or '', stored[4] or ''

local token, granted, next, lease_end, span, lease, requested, acknowledged, taken, failures, limit, owner =
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ''
local indexed -- the key's time in the index; nil if it is not there
if numbers then
	token, granted, next, lease_end, span, lease, requested, acknowledged, taken, failures, limit, owner =
		match(numbers, NUMBERS)
	if not token then
		local version = match(numbers, '^(%d+) ')
		if version and version ~= '1' and #version < 10 then
			return { 0, 'format version ' .. version .. ' is not known, only 1' }
		end
		return { 0, 'its numbers are malformed' }
	end
	-- Adding 0 turns digits into a number.
	token, granted, next, lease_end, span = token + 0, granted + 0, next + 0, lease_end + 0, span + 0
	lease, requested, acknowledged, taken, failures = lease + 0, requested + 0, acknowledged + 0, taken + 0, failures + 0
	limit = limit + 0
	if token > MAX_NUMBER or granted > MAX_NUMBER or next > MAX_NUMBER or lease_end > MAX_NUMBER
		or requested > MAX_NUMBER or failures > MAX_NUMBER or limit > MAX_NUMBER
		or span > MAX_SPAN or lease > MAX_SPAN then
		return { 0, 'a number is too high' }
	end
	if acknowledged > taken or taken > requested then
		return { 0, 'its generations are not in order' }
	end
	if #owner > MAX_ID or #ids > MAX_IDS * ENTRY or #ids % ENTRY > 0 then
		return { 0, 'its identifiers are malformed' }
	end
	if #policy > MAX_TEXT or find(policy, '\0', 1, true) then
		return { 0, 'its policy is malformed' }
	end
	if ending ~= '' then
		local from, last, message = match(ending, ENDING)
		if not from or from + 0 > acknowledged or last + 0 > token or #ending - message >= MAX_TEXT then
			return { 0, 'its last ending is malformed' }
		end
	end
	if requested > acknowledged then
		indexed = owner == '' and next or max(next, lease_end)
	end
elseif call('EXISTS', KEYS[1]) == 1 then
	return { 0, 'it is malformed' }
end

-- This is State.enter: it makes the state valid at now.
local numbers_changed, ids_changed = not numbers, false
if granted > now then
	granted, numbers_changed = 0, true
end
if next > now + span then
	next, numbers_changed = now + span, true
end
if lease_end > now + lease then
	lease_end, numbers_changed = now + lease, true
end
if ids ~= '' then
	if (tonumber(sub(ids, HASH - ENTRY)) or 0) > now then
		local moved = {}
		for at = 1, #ids, ENTRY do
			local time = tonumber(sub(ids, at + HASH, at + ENTRY - 1)) or 0
			moved[#moved + 1] = sub(ids, at, at + HASH - 1) .. format('%016.0f', max(0, math.min(time, now)))
		end
		ids, ids_changed = table.concat(moved), true
	end
	-- An identifier with a malformed time is too old.
	local kept = 1
	while kept < #ids and now - (tonumber(sub(ids, kept + HASH, kept + ENTRY - 1)) or 0) > KEEP_IDS do
		kept = kept + ENTRY
	end
	if kept > 1 then
		ids, ids_changed = sub(ids, kept), true
	end
end
