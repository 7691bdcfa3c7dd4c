-- This is the first version of the schema. Migrate replaces the placeholder by the quoted name of
-- the schema, which may contain any character, even a newline. So do not write the placeholder into
-- a comment.
--
-- The functions do what the methods of machine.State do; the reasons are there. Times are
-- microseconds since the Unix epoch, durations are microseconds.
--
-- Functions that read tables turn sequential scans off. A session keeps its plans, and one that it has
-- made while a table was small would read all of a table that has grown since.

CREATE TABLE {schema}.state (
    requested    bigint NOT NULL DEFAULT 0,
    acknowledged bigint NOT NULL DEFAULT 0,
    taken        bigint NOT NULL DEFAULT 0,
    token        bigint NOT NULL DEFAULT 0,
    granted      bigint NOT NULL DEFAULT 0,
    next         bigint NOT NULL DEFAULT 0,
    span         bigint NOT NULL DEFAULT 0,
    next_limit   bigint NOT NULL DEFAULT 0, -- machine.State.Limit
    until        bigint NOT NULL DEFAULT 0,
    lease        bigint NOT NULL DEFAULT 0,
    failures     bigint NOT NULL DEFAULT 0,
    last_from    bigint NOT NULL DEFAULT 0,
    last_through bigint NOT NULL DEFAULT 0,
    last_token   bigint NOT NULL DEFAULT 0,
    due          bigint, -- see due_of; if it were generated, each update would parse its expression
    last_failed  boolean NOT NULL DEFAULT false,
    format       smallint NOT NULL DEFAULT 1, -- the version of the functions that wrote the row
    oldest       smallint NOT NULL DEFAULT 1, -- the lowest version of functions that can use it
    namespace    text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    owner        text COLLATE "C" NOT NULL DEFAULT '',
    policy       text NOT NULL DEFAULT '',
    last_message text NOT NULL DEFAULT '',
    ids          bigint[] NOT NULL DEFAULT '{}', -- hashes of the identifiers of recent claims
    ids_at       bigint[] NOT NULL DEFAULT '{}', -- the instants of these claims
    PRIMARY KEY (namespace, key)
) WITH (fillfactor = 70); -- room for the next version of each row: see doc.go

-- The index includes the key because all keys that have never run are due since 0.
CREATE INDEX state_due ON {schema}.state (namespace, due, key) WHERE due IS NOT NULL;

-- Calls made in transactions. The key is not unique, or a second transaction would wait for the end
-- of the first one. There is a primary key because a published table needs one for its rows to be
-- deleted.
CREATE TABLE {schema}.calls (
    at        bigint NOT NULL,
    number    bigint GENERATED ALWAYS AS IDENTITY,
    namespace text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    PRIMARY KEY (namespace, key, number)
);

-- This uses clock_timestamp, as now() is the instant at which the transaction began: it may have
-- waited for the row since.
CREATE FUNCTION {schema}.clock() RETURNS bigint
LANGUAGE sql VOLATILE AS $throttle$
    SELECT (date_part('epoch', clock_timestamp()) * 1000000)::bigint
$throttle$;

-- is_valid reports whether these functions can have left s. Like some others below it is one
-- expression, so that the planner replaces a call by it.
CREATE FUNCTION {schema}.is_valid(s {schema}.state) RETURNS boolean
LANGUAGE sql STABLE AS $throttle$
    SELECT s.format >= 1 AND s.oldest <= 1
        AND s.acknowledged <= s.taken AND s.taken <= s.requested
        AND least(s.acknowledged, s.token, s.granted, s.next, s.span, s.next_limit, s.until, s.lease, s.failures,
            s.last_from, s.last_through, s.last_token) >= 0
        AND greatest(s.requested, s.token, s.granted, s.next, s.next_limit, s.until, s.failures,
            s.last_from, s.last_through, s.last_token) <= 9007199254740991 -- machine.MaxNumber
        AND greatest(s.span, s.lease) <= 3153600000000000 -- machine.MaxSpan
        AND octet_length(s.owner) <= 64 AND octet_length(s.policy) <= 256 AND octet_length(s.last_message) <= 256
        AND cardinality(s.ids) <= 32 -- machine.MaxIDs
        AND coalesce(array_dims(s.ids) = '[1:' || cardinality(s.ids) || ']', cardinality(s.ids) = 0)
        AND array_dims(s.ids) IS NOT DISTINCT FROM array_dims(s.ids_at)
        AND array_position(s.ids, NULL) IS NULL AND array_position(s.ids_at, NULL) IS NULL
$throttle$;

-- problem names what is wrong with s, which is not valid.
CREATE FUNCTION {schema}.problem(s {schema}.state) RETURNS text
LANGUAGE sql STABLE AS $throttle$
    SELECT CASE
        WHEN s.format < 1 OR s.oldest > 1
            THEN 'format ' || s.format || ', which needs functions of version ' || s.oldest || ' to ' || s.format || ', in version 1'
        WHEN s.acknowledged < 0 OR s.acknowledged > s.taken OR s.taken > s.requested OR s.requested > 9007199254740991
            THEN 'acknowledged, taken, requested'
        WHEN s.token NOT BETWEEN 0 AND 9007199254740991 THEN 'token'
        WHEN s.granted NOT BETWEEN 0 AND 9007199254740991 THEN 'granted'
        WHEN s.next NOT BETWEEN 0 AND 9007199254740991 THEN 'next'
        WHEN s.span NOT BETWEEN 0 AND 3153600000000000 THEN 'span'
        WHEN s.next_limit NOT BETWEEN 0 AND 9007199254740991 THEN 'next_limit'
        WHEN s.until NOT BETWEEN 0 AND 9007199254740991 THEN 'until'
        WHEN s.lease NOT BETWEEN 0 AND 3153600000000000 THEN 'lease'
        WHEN s.failures NOT BETWEEN 0 AND 9007199254740991 THEN 'failures'
        WHEN s.last_from NOT BETWEEN 0 AND 9007199254740991 THEN 'last_from'
        WHEN s.last_through NOT BETWEEN 0 AND 9007199254740991 THEN 'last_through'
        WHEN s.last_token NOT BETWEEN 0 AND 9007199254740991 THEN 'last_token'
        WHEN octet_length(s.owner) > 64 THEN 'owner'
        WHEN octet_length(s.policy) > 256 THEN 'policy'
        WHEN octet_length(s.last_message) > 256 THEN 'last_message'
        ELSE 'ids, ids_at'
    END
$throttle$;

-- lock locks the row of a key and returns it, or NULL if there is none. It fails if the session's
-- commits may be lost, if the session may see an older version of the row than the locked one, or if
-- the row is not valid.
CREATE FUNCTION {schema}.lock(namespace text, key text, durable boolean)
RETURNS {schema}.state
LANGUAGE plpgsql AS $throttle$
DECLARE
    s {schema}.state;
BEGIN
    IF durable AND current_setting('synchronous_commit') = 'off' THEN
        RAISE EXCEPTION 'synchronous_commit is off' USING ERRCODE = 'THR01';
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'default_transaction_isolation is not read committed' USING ERRCODE = 'THR03';
    END IF;
    SELECT * INTO s FROM {schema}.state t
        WHERE t.namespace = lock.namespace AND t.key = lock.key FOR UPDATE;
    IF NOT {schema}.is_valid(s) THEN
        RAISE EXCEPTION '% is not valid', {schema}.problem(s) USING ERRCODE = 'THR02';
    END IF;
    RETURN s;
END
$throttle$;

-- is_ahead reports whether an instant of s is farther ahead than when it was set: the clock has stepped
-- back since.
CREATE FUNCTION {schema}.is_ahead(s {schema}.state, now bigint) RETURNS boolean
LANGUAGE sql STABLE AS $throttle$
    SELECT greatest(s.granted, s.next - s.span, s.until - s.lease, s.ids_at[cardinality(s.ids_at)]) > now
$throttle$;

-- expired returns how many identifiers of s are too old. They are in the order of their instants.
CREATE FUNCTION {schema}.expired(s {schema}.state, now bigint) RETURNS int
LANGUAGE sql STABLE AS $throttle$
    SELECT width_bucket(now - 10000000 - 1, s.ids_at) -- machine.KeepIDs
$throttle$;

-- due_of is machine.State.Due. It returns NULL if nothing is pending.
CREATE FUNCTION {schema}.due_of(s {schema}.state) RETURNS bigint
LANGUAGE sql STABLE AS $throttle$
    SELECT CASE
        WHEN s.requested <= s.acknowledged THEN NULL
        WHEN s.owner = '' THEN s.next
        ELSE greatest(s.next, s.until)
    END
$throttle$;

-- enter moves the locked row s to now, and returns it. It changes nothing unless s is ahead, or
-- identifiers have expired.
CREATE FUNCTION {schema}.enter(s {schema}.state, now bigint) RETURNS {schema}.state
LANGUAGE plpgsql AS $throttle$
DECLARE
    expired CONSTANT int := {schema}.expired(s, now);
BEGIN
    IF s.granted > now THEN
        s.granted := 0;
    END IF;
    s.next := least(s.next, now + s.span);
    s.until := least(s.until, now + s.lease);
    s.due := {schema}.due_of(s);
    s.ids := s.ids[expired + 1 :];
    s.ids_at := ARRAY(
        SELECT least(a.at, now) FROM unnest(s.ids_at[expired + 1 :]) WITH ORDINALITY a (at, i) ORDER BY a.i);
    UPDATE {schema}.state t SET
        granted = s.granted, next = s.next, until = s.until, due = s.due, ids = s.ids, ids_at = s.ids_at
    WHERE t.namespace = s.namespace AND t.key = s.key;
    RETURN s;
END
$throttle$;

-- postpone is machine.State.postpone, if quiet is more than 0. It returns the changed s, and does not
-- write it. No age is negative.
CREATE FUNCTION {schema}.postpone(
    s {schema}.state, now bigint, newest_age bigint, first_age bigint, quiet bigint, max_wait bigint)
RETURNS {schema}.state
LANGUAGE plpgsql STABLE AS $throttle$
DECLARE
    next bigint := now + quiet - newest_age;
BEGIN
    IF s.requested <= s.taken AND (s.taken = s.acknowledged OR s.owner <> '' AND now < s.until) THEN
        s.next_limit := 0;
    END IF;
    IF max_wait > 0 THEN
        IF s.next_limit = 0 THEN
            s.next_limit := greatest(1, now + max_wait - first_age);
        END IF;
        s.next_limit := least(s.next_limit, now + max_wait);
    END IF;
    IF s.next_limit > 0 THEN
        next := least(next, s.next_limit);
    END IF;
    IF next > greatest(s.next, now) THEN
        s.span := next - now;
        s.next := next;
    END IF;
    RETURN s;
END
$throttle$;

-- A reply is machine.Reply.
CREATE TYPE {schema}.reply AS (
    verdict smallint, token bigint, failures bigint, hold bigint, poll bigint,
    generation bigint, acknowledged bigint,
    last_from bigint, last_through bigint, last_token bigint, last_failed boolean, last_message text,
    policy text, now bigint);

-- claim is machine.State.Claim. It also counts the calls made in transactions, as calls made now. If it
-- finds one, that is the newest call. It is the first one as well, unless the claim registers an older
-- one.
--
-- Most claims join calls that are pending already, and do not postpone the run: they only add their
-- identifier to the row. These do not wait for the disk. If a crash undoes one, the store is as if its
-- claim had never arrived, and whatever else the row says comes from commits that did wait.
--
-- Without a key it changes nothing, but the session has its plans afterwards.
CREATE FUNCTION {schema}.claim(
    namespace text, key text, durable boolean,
    id text, is_new boolean, age bigint, first bigint, not_after bigint, seen bigint,
    spacing bigint, quiet bigint, max_wait bigint, lease bigint, policy text) RETURNS {schema}.reply
LANGUAGE plpgsql SET enable_seqscan = off AS $throttle$
DECLARE
    highest CONSTANT bigint := 9007199254740991; -- machine.MaxNumber
    hash    CONSTANT bigint := hashtextextended(id, 0);
    s         {schema}.state;
    now       bigint;
    resent    boolean; -- the claim has the grant: its reply was lost
    known     boolean; -- the row has the identifier
    registers boolean; -- the claim is for calls that may not be pending
    before    {schema}.state; -- s before the run is postponed
    surplus   int;     -- how many identifiers to drop
    changed   boolean := false; -- something but the identifiers
    granted   boolean;
    setting   text;
BEGIN
    LOOP
        s := {schema}.lock(namespace, key, durable);
        EXIT WHEN s.namespace IS NOT NULL OR claim.key IS NULL;
        INSERT INTO {schema}.state (namespace, key)
            VALUES (claim.namespace, claim.key) ON CONFLICT DO NOTHING;
    END LOOP;
    now := {schema}.clock();
    IF greatest(s.token, s.requested, now) >= highest THEN
        RAISE EXCEPTION 'no higher number is left' USING ERRCODE = 'THR02';
    ELSIF {schema}.is_ahead(s, now) THEN
        s := {schema}.enter(s, now);
        changed := true;
    END IF;
    resent := s.owner = id AND now < s.until;
    surplus := {schema}.expired(s, now);
    known := resent OR array_position(s.ids, hash, surplus + 1) IS NOT NULL;
    registers := NOT known AND (is_new OR age >= 0 AND (s.granted = 0 OR now - age >= s.granted));

    DELETE FROM {schema}.calls c WHERE c.namespace = claim.namespace AND c.key = claim.key;
    IF FOUND OR registers THEN
        changed := changed OR FOUND OR s.requested <= s.taken;
        IF s.requested <= s.acknowledged AND s.next < now THEN
            s.span := 0;
            s.next := now;
        END IF;
        IF quiet > 0 THEN
            before := s;
            s := {schema}.postpone(s, now,
                CASE WHEN FOUND THEN 0 ELSE greatest(age, 0) END,
                CASE WHEN registers THEN greatest(first, 0) ELSE 0 END, quiet, max_wait);
            changed := changed OR s.next <> before.next OR s.next_limit <> before.next_limit;
        END IF;
        s.requested := greatest(s.requested, s.taken + 1);
    END IF;
    IF NOT known THEN
        surplus := greatest(surplus, cardinality(s.ids) - 31); -- with the new one there are machine.MaxIDs
    END IF;

    granted := NOT known AND s.requested > s.acknowledged
        AND now <= not_after AND now >= s.next AND (s.owner = '' OR now >= s.until);
    IF granted THEN
        UPDATE {schema}.state t SET
            requested = s.requested, taken = s.requested, token = greatest(s.token + 1, now, seen + 1),
            owner = id, granted = now, lease = claim.lease, until = now + claim.lease,
            span = spacing, next = now + spacing, next_limit = s.next_limit,
            due = now + greatest(spacing, claim.lease), policy = claim.policy,
            ids = s.ids[surplus + 1 :] || hash, ids_at = s.ids_at[surplus + 1 :] || now
        WHERE t.namespace = s.namespace AND t.key = s.key
        RETURNING t.token INTO s.token;
    ELSE
        IF NOT changed THEN
            setting := set_config('synchronous_commit', 'off', true); -- for this transaction
        END IF;
        s.due := {schema}.due_of(s);
        UPDATE {schema}.state t SET
            requested = s.requested, span = s.span, next = s.next, next_limit = s.next_limit, due = s.due,
            ids = CASE WHEN known THEN s.ids[surplus + 1 :] ELSE s.ids[surplus + 1 :] || hash END,
            ids_at = CASE WHEN known THEN s.ids_at[surplus + 1 :] ELSE s.ids_at[surplus + 1 :] || now END
        WHERE t.namespace = s.namespace AND t.key = s.key;
    END IF;

    IF granted OR resent THEN
        RETURN (2, s.token, s.failures, 0, 0, s.requested, s.acknowledged,
            s.last_from, s.last_through, s.last_token, s.last_failed, s.last_message,
            s.policy, now)::{schema}.reply;
    END IF;
    RETURN (
        CASE WHEN s.due IS NULL THEN 1 ELSE 3 END, 0, 0,
        CASE WHEN s.requested > s.taken THEN greatest(0, s.next - now) ELSE 0 END,
        coalesce(greatest(0, s.due - now), 0),
        s.requested, s.acknowledged,
        s.last_from, s.last_through, s.last_token, s.last_failed, s.last_message,
        s.policy, now)::{schema}.reply;
END
$throttle$;

-- finish is machine.State.Finish. It does not notify: the server commits notifying transactions one
-- after the other, and each would wait for the disk alone.
CREATE FUNCTION {schema}.finish(
    namespace text, key text, durable boolean,
    token bigint, ran boolean, failed boolean, message text, again boolean, delay bigint, failures bigint,
    OUT stale boolean, OUT pending boolean, OUT poll bigint, OUT now bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $throttle$
DECLARE
    s {schema}.state;
BEGIN
    stale := true;
    pending := false;
    poll := 0;
    s := {schema}.lock(namespace, key, durable);
    now := {schema}.clock();
    IF {schema}.is_ahead(s, now) OR {schema}.expired(s, now) > 0 THEN
        s := {schema}.enter(s, now);
    END IF;
    IF s.namespace IS NULL OR s.owner = '' OR token <> s.token THEN
        RETURN;
    END IF;

    stale := false;
    s.owner := '';
    IF ran THEN
        s.last_from := s.acknowledged;
        s.last_through := s.taken;
        s.last_token := s.token;
        s.last_failed := failed;
        s.last_message := message;
        s.acknowledged := s.taken;
        s.failures := failures;
    END IF;
    IF again THEN
        IF s.requested <= s.taken THEN
            s.next_limit := 0;
        END IF;
        s.requested := greatest(s.requested, s.taken + 1);
    END IF;
    IF delay > 0 AND now + delay > s.next THEN
        s.span := delay;
        s.next := now + delay;
    END IF;
    IF s.requested > s.acknowledged AND s.next < now THEN
        s.span := 0;
        s.next := now;
    END IF;
    s.due := {schema}.due_of(s);
    UPDATE {schema}.state t SET
        requested = s.requested, acknowledged = s.acknowledged, owner = s.owner, failures = s.failures,
        last_from = s.last_from, last_through = s.last_through, last_token = s.last_token,
        last_failed = s.last_failed, last_message = s.last_message,
        span = s.span, next = s.next, next_limit = s.next_limit, due = s.due
    WHERE t.namespace = s.namespace AND t.key = s.key;
    pending := s.due IS NOT NULL;
    IF pending THEN
        poll := greatest(0, s.due - now);
    END IF;
END
$throttle$;

-- renew is machine.State.Renew.
CREATE FUNCTION {schema}.renew(namespace text, key text, durable boolean, token bigint) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off AS $throttle$
DECLARE
    s   {schema}.state;
    now bigint;
BEGIN
    s := {schema}.lock(namespace, key, durable);
    now := {schema}.clock();
    IF {schema}.is_ahead(s, now) OR {schema}.expired(s, now) > 0 THEN
        s := {schema}.enter(s, now);
    END IF;
    IF s.namespace IS NULL OR s.owner = '' OR token <> s.token THEN
        RETURN false;
    END IF;
    s.until := now + s.lease;
    s.due := {schema}.due_of(s);
    UPDATE {schema}.state t SET until = s.until, due = s.due WHERE t.namespace = s.namespace AND t.key = s.key;
    RETURN true;
END
$throttle$;

-- called returns keys with calls made in transactions, in their order: after the key after, without
-- the first skip, at most most. It finds each key in the index from the one before, so it does not
-- matter how many calls a key has.
CREATE FUNCTION {schema}.called(namespace text, after text, skip int, most int)
RETURNS TABLE (key text, since bigint)
LANGUAGE sql STABLE AS $throttle$
    WITH RECURSIVE found AS (
        (SELECT 1 AS number, c.key, c.at FROM {schema}.calls c
         WHERE c.namespace = called.namespace AND c.key > after
         ORDER BY c.key, c.number LIMIT 1)
        UNION ALL
        SELECT f.number + 1, following.key, following.at
        FROM found f, LATERAL (
            SELECT c.key, c.at FROM {schema}.calls c
            WHERE c.namespace = called.namespace AND c.key > f.key
            ORDER BY c.key, c.number LIMIT 1) following
        WHERE f.number < skip + most
    )
    SELECT f.key, f.at FROM found f WHERE f.number > skip ORDER BY f.number
$throttle$;

-- pending returns keys that are due at now by their state, in the order of the index: after a place,
-- without the first skip, at most most. It leaves out other keys.
CREATE FUNCTION {schema}.pending(
    namespace text, now bigint, place_due bigint, place_key text, skip int, most int, other text[])
RETURNS TABLE (key text, due bigint)
LANGUAGE sql STABLE AS $throttle$
    SELECT f.key, f.due FROM (
        SELECT t.key, t.due FROM {schema}.state t
        WHERE t.namespace = pending.namespace AND t.due <= now AND (t.due, t.key) > (place_due, place_key)
        ORDER BY t.due, t.key OFFSET skip LIMIT most + cardinality(other)) f
    WHERE f.key <> ALL (other)
    ORDER BY f.due, f.key LIMIT most
$throttle$;

-- estimate returns how many keys are due at now by their state, as far as the planner knows.
CREATE FUNCTION {schema}.estimate(namespace text, now bigint) RETURNS bigint
LANGUAGE plpgsql AS $throttle$
DECLARE
    plan json;
BEGIN
    EXECUTE $query$EXPLAIN (FORMAT JSON) SELECT FROM {schema}.state t WHERE t.namespace = $1 AND t.due <= $2$query$
        INTO plan USING namespace, now;
    RETURN plan -> 0 -> 'Plan' ->> 'Plan Rows';
END
$throttle$;

-- due returns keys that are due: all of them, or as many as machine.MaxDue and those of held. Keys
-- with calls made in transactions are always due, because only a claim can find out when they may
-- run. What it reads does not grow with the number of keys, beyond the limits below: its settings and
-- the form of its queries rule out plans that read whole tables or indexes, whatever the planner
-- believes.
--
-- Of many keys it skips a random number after the place of the last look, returns the following ones,
-- and moves the place there. At the end it goes on at the beginning. If most of the keys are due both
-- by their state and by calls, it may return fewer than machine.MaxDue.
CREATE FUNCTION {schema}.due(
    namespace text, held text[],
    INOUT place_due bigint, INOUT place_key text, INOUT place_called text,
    OUT keys text[], OUT number bigint, OUT oldest bigint, OUT next bigint, OUT now bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $throttle$
DECLARE
    most      CONSTANT int := 100;  -- machine.MaxDue
    countable CONSTANT int := 2000; -- how far to count
    first     CONSTANT bigint := -9223372036854775808; -- the place before all keys
    called text[];
    since  bigint;
    also   bigint;
    rest   int; -- keys that are due by their state, after the place, at most countable
    n      int; -- and wherever they are, at most countable
    skip   int;
    share  int; -- how many of these to return
    more   text[];
BEGIN
    now := {schema}.clock();
    SELECT t.due - now INTO next FROM {schema}.state t
        WHERE t.namespace = due.namespace AND t.due > now ORDER BY t.due LIMIT 1;
    next := coalesce(next, -1);
    SELECT coalesce(array_agg(p.key), '{}'), min(p.due) INTO keys, since
        FROM {schema}.pending(namespace, now, first, '', 0, most + 1, '{}') p;
    SELECT coalesce(array_agg(c.key), '{}'), min(c.since) INTO called, also
        FROM {schema}.called(namespace, '', 0, most + 1) c;
    oldest := greatest(0, now - greatest(0, coalesce(least(since, also), now)));
    IF cardinality(keys) <= most AND cardinality(called) <= most THEN -- these are all
        keys := ARRAY(SELECT unnest(keys) UNION SELECT unnest(called));
        number := cardinality(keys);
        IF number <= most THEN
            RETURN;
        END IF;
        keys := ARRAY(SELECT k FROM unnest(keys) k ORDER BY random() LIMIT most);
        called := '{}';
    ELSE
        -- Count.
        rest := (SELECT count(*) FROM {schema}.pending(namespace, now, place_due, place_key, 0, countable, '{}'));
        n := rest;
        IF rest < countable THEN
            n := (SELECT count(*) FROM {schema}.pending(namespace, now, first, '', 0, countable, '{}'));
        END IF;
        number := CASE WHEN n < countable THEN n ELSE greatest(n, {schema}.estimate(namespace, now)) END;
        number := number + (SELECT count(*) FROM unnest(called) c WHERE coalesce(now < (
            SELECT t.due FROM {schema}.state t WHERE t.namespace = due.namespace AND t.key = c), true));

        -- Choose called keys: at least half, or all.
        share := least(n, greatest(most - cardinality(called), most / 2));
        IF cardinality(called) > most - share THEN
            skip := floor(random() * most);
            called := ARRAY(SELECT c.key FROM {schema}.called(namespace, place_called, skip, most - share) c);
            IF cardinality(called) < most - share THEN
                called := called || ARRAY(SELECT c.key FROM {schema}.called(
                    namespace, '', 0, most - share - cardinality(called)) c);
            END IF;
            place_called := called[cardinality(called)];
        END IF;

        -- Choose others.
        skip := floor(random() * n);
        IF skip >= rest THEN
            place_due := first;
            place_key := '';
            skip := skip - rest;
        END IF;
        SELECT coalesce(array_agg(p.key), '{}'), max(p.due) INTO keys, since
            FROM {schema}.pending(namespace, now, place_due, place_key, skip, share, called) p;
        more := keys;
        IF cardinality(keys) < share THEN
            SELECT coalesce(array_agg(p.key), '{}'), max(p.due) INTO more, since
                FROM {schema}.pending(namespace, now, first, '', 0, share - cardinality(keys), called || keys) p;
            keys := keys || more;
        END IF;
        IF cardinality(more) > 0 THEN
            place_due := since;
            place_key := more[cardinality(more)];
        END IF;
    END IF;
    keys := ARRAY(
        SELECT unnest(keys) UNION SELECT unnest(called) UNION SELECT h FROM unnest(held) h
        WHERE (SELECT t.due FROM {schema}.state t WHERE t.namespace = due.namespace AND t.key = h) <= now
        OR (SELECT true FROM {schema}.calls c WHERE c.namespace = due.namespace AND c.key = h LIMIT 1));
END
$throttle$;

-- inspect returns the row of a key, or none. It fails if the row is not valid.
CREATE FUNCTION {schema}.inspect(namespace text, key text) RETURNS SETOF {schema}.state
LANGUAGE plpgsql SET enable_seqscan = off AS $throttle$
DECLARE
    s {schema}.state;
BEGIN
    SELECT * INTO s FROM {schema}.state t WHERE t.namespace = inspect.namespace AND t.key = inspect.key;
    IF NOT {schema}.is_valid(s) THEN
        RAISE EXCEPTION '% is not valid', {schema}.problem(s) USING ERRCODE = 'THR02';
    ELSIF s.namespace IS NOT NULL THEN
        RETURN NEXT s;
    END IF;
END
$throttle$;

-- forget deletes all that is known of a key. Like a claim, it locks the row before it looks for calls.
CREATE FUNCTION {schema}.forget(namespace text, key text, durable boolean) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $throttle$
BEGIN
    IF durable AND current_setting('synchronous_commit') = 'off' THEN
        RAISE EXCEPTION 'synchronous_commit is off' USING ERRCODE = 'THR01';
    END IF;
    DELETE FROM {schema}.state t WHERE t.namespace = forget.namespace AND t.key = forget.key;
    DELETE FROM {schema}.calls c WHERE c.namespace = forget.namespace AND c.key = forget.key;
END
$throttle$;

-- call makes a call in the current transaction.
CREATE FUNCTION {schema}.call(namespace text, key text, channel text, wake text) RETURNS void
LANGUAGE plpgsql AS $throttle$
BEGIN
    INSERT INTO {schema}.calls (at, namespace, key) VALUES ({schema}.clock(), call.namespace, call.key);
    PERFORM pg_notify(channel, wake);
END
$throttle$;
