-- This is State.Claim.
-- ARGV: key, id, new, age or -1, by, seen, spacing, lease, policy

local id, new = ARGV[2], ARGV[3] == '1'
local age, by, seen = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local spacing, lease, policy = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]

local now = clock()
local s, failed = load()
if failed then
	return failed
end
if max(s.token, now) >= MAX_NUMBER or s.requested >= MAX_NUMBER then
	return broken('no higher number is left')
end
enter(s, now)

local before = s.policy
local verdict, token, failures, hold, poll
if s.owner == id and now < s.lease_end then
	verdict = GRANTED -- the client sends the claim again, as the reply was lost
else
	local again = find(s.ids, ';' .. id .. '=', 1, true)
	if not again then
		if s.count == MAX_IDS then
			s.ids = gsub(s.ids, '^;[^;]*', '')
			s.count = s.count - 1
		end
		s.ids, s.count, s.newest = s.ids .. ';' .. id .. '=' .. digits(now % RECENT), s.count + 1, now
		if new or age >= 0 and (s.granted == 0 or now - age >= s.granted) then
			s.requested = max(s.requested, s.taken + 1)
		end
	end
	if s.requested <= s.acknowledged then
		verdict = SERVED
	elseif not again and now <= by and now >= s.next and (s.owner == '' or now >= s.lease_end) then
		verdict = GRANTED
		s.token = max(s.token + 1, now, seen + 1)
		s.taken, s.owner, s.granted = s.requested, id, now
		s.lease, s.lease_end = lease, now + lease
		s.span, s.next = spacing, now + spacing
		s.policy = policy
	else
		verdict = DEFERRED
	end
end

token, failures, hold, poll = 0, 0, 0, 0
if verdict == GRANTED then
	token, failures = s.token, s.failures
elseif verdict == DEFERRED then
	if s.requested > s.taken then
		hold = max(0, s.next - now)
	end
	poll = max(0, due_at(s) - now)
end
failed = save(s)
if failed then
	return failed
end
return {
	verdict, token, failures, hold, poll, s.requested, s.acknowledged,
	s.from, s.through, s.last_token, s.failed, s.message, before, now,
}
