-- The state of a key (machine.State), and the code that all operations share. The engine puts
-- the limits of package machine above this text, and the script of an operation below it. KEYS
-- are the state and the index, ARGV[1] is the key's name. Times and durations are in
-- microseconds.
--
-- A script does everything that can fail before it writes, because the server does not undo a
-- script that fails half-way.

local max, min = math.max, math.min
local find, format, gsub, match, sub = string.find, string.format, string.gsub, string.match, string.sub

-- A stored state is the version of the format, 19 numbers, and the owner, the identifiers, the
-- policy's text and the message without separators. The last four numbers are the number of
-- identifiers, and the lengths of the owner, the identifiers and the policy in bytes: to find
-- their ends with a pattern would take a third of an operation's time. An identifier is
-- ";id=time". The time is stored modulo RECENT; the time of the newest identifier, which is
-- stored in full, gives the rest, as identifiers are kept for less than that.
local VERSION = '1'
local PATTERN = '^1 (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)'
	.. ' (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) ()'
local MAX_STATE = 4096
local RECENT = 10 * KEEP_IDS

-- The format of numbers. tostring would round them to 14 digits. %d is three times as fast as
-- %.0f, but keeps only 32 bits in a 32-bit server.
local NUMBER = format('%d', 2 ^ 40) == '1099511627776' and '%d' or '%.0f'
local FORMAT = VERSION .. string.rep(' ' .. NUMBER, 19) .. ' '

local function digits(n)
	return format(NUMBER, n)
end

local function clock()
	local t = redis.call('TIME')
	return t[1] * 1000000 + t[2]
end

-- broken returns the reply that the engine turns into a *fleet.StateError.
local function broken(reason)
	return { 0, reason }
end

-- refused returns the reply for a command that failed, and nil for one that did not. If a value
-- has another type, the state is broken. Any other error, such as that of a read-only replica,
-- says that the store cannot be used now.
local function refused(result, what)
	if type(result) ~= 'table' or not result.err then
		return nil
	end
	if find(result.err, 'WRONGTYPE', 1, true) then
		return broken(what .. ' has another type')
	end
	return result
end

-- parse returns the state in text, or nil and what is wrong with text.
local function parse(text)
	if #text > MAX_STATE then
		return nil, 'it is too long'
	end
	local token, granted, next, lease_end, requested, acknowledged, taken, span, lease, failures,
		from, through, last_token, failed, newest, count, owner, ids, policy, start = match(text, PATTERN)
	if not token then
		local version = match(text, '^(%d+) ')
		if version and version ~= VERSION and #version < 10 then
			return nil, 'format version ' .. version .. ' is not known'
		end
		return nil, 'it is malformed'
	end
	-- Adding 0 turns digits into a number.
	local s = {
		token = token + 0, granted = granted + 0, next = next + 0, lease_end = lease_end + 0,
		requested = requested + 0, acknowledged = acknowledged + 0, taken = taken + 0,
		span = span + 0, lease = lease + 0, failures = failures + 0,
		from = from + 0, through = through + 0, last_token = last_token + 0, failed = failed + 0,
		newest = newest + 0, count = count + 0,
	}
	if max(s.token, s.granted, s.next, s.lease_end, s.requested, s.failures,
		s.from, s.through, s.last_token, s.newest) > MAX_NUMBER
		or max(s.span, s.lease) > MAX_SPAN or s.failed > 1 or s.count > MAX_IDS then
		return nil, 'a number is too high'
	end
	if s.acknowledged > s.taken or s.taken > s.requested then
		return nil, 'generations are not in order'
	end
	local ids_start = start + owner
	local policy_start = ids_start + ids
	local message_start = policy_start + policy
	local message = #text + 1 - message_start
	if policy + 0 > MAX_TEXT or message < 0 or message > MAX_TEXT or find(text, '\0', policy_start, true) then
		return nil, 'its texts are malformed'
	end
	s.owner = sub(text, start, ids_start - 1)
	s.ids = sub(text, ids_start, policy_start - 1)
	s.policy = sub(text, policy_start, message_start - 1)
	s.message = sub(text, message_start)
	return s
end

-- load returns the state, or nil and the reply that says why it cannot.
local function load()
	local text = redis.pcall('GET', KEYS[1])
	local reply = refused(text, 'it')
	if reply then
		return nil, reply
	end
	if not text then
		return {
			new = true,
			token = 0, granted = 0, next = 0, lease_end = 0,
			requested = 0, acknowledged = 0, taken = 0,
			span = 0, lease = 0, failures = 0,
			from = 0, through = 0, last_token = 0, failed = 0,
			newest = 0, count = 0, owner = '', ids = '', policy = '', message = '',
		}
	end
	local s, reason = parse(text)
	if not s then
		return nil, broken(reason)
	end
	return s
end

-- enter is State.enter: it makes the state valid at now. The identifiers are in the order of
-- their times.
local function enter(s, now)
	if s.granted > now then
		s.granted = 0
	end
	s.next = min(s.next, now + s.span)
	s.lease_end = min(s.lease_end, now + s.lease)

	local function time(low)
		return s.newest - (s.newest - low) % RECENT
	end
	if s.newest > now then
		s.ids = gsub(s.ids, '=(%d+)', function(at)
			return '=' .. digits(min(time(at), now) % RECENT)
		end)
		s.newest = now
	end
	local kept = 1
	while true do
		local _, stop, at = find(s.ids, '^;[%w%-]+=(%d+)', kept)
		if not stop or now - time(at) <= KEEP_IDS then
			break
		end
		kept, s.count = stop + 1, max(0, s.count - 1)
	end
	if kept > 1 then
		s.ids = sub(s.ids, kept)
	end
end

-- due_at is State.Due. It returns nil if nothing is pending.
local function due_at(s)
	if s.requested <= s.acknowledged then
		return nil
	elseif s.owner == '' then
		return s.next
	else
		return max(s.next, s.lease_end)
	end
end

-- save stores the state and its entry in the index. It returns nil, or the reply that says why it
-- cannot.
local function save(s)
	local due, done = due_at(s), nil
	if due then
		done = redis.pcall('ZADD', KEYS[2], digits(due), ARGV[1])
	else
		done = redis.pcall('ZREM', KEYS[2], ARGV[1])
	end
	local reply = refused(done, 'its index')
	if reply then
		return reply
	end
	redis.call('SET', KEYS[1], format(FORMAT,
		s.token, s.granted, s.next, s.lease_end, s.requested, s.acknowledged, s.taken, s.span, s.lease, s.failures,
		s.from, s.through, s.last_token, s.failed, s.newest, s.count, #s.owner, #s.ids, #s.policy)
		.. s.owner .. s.ids .. s.policy .. s.message)
	return nil
end
