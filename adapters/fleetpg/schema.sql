-- This is the first version of the schema. Migrate replaces the placeholder by the quoted name of
-- the schema, which may contain any character, even a newline. So do not write the placeholder into
-- a comment.
--
-- The functions do what the methods of machine.State do; the reasons are there. Times are
-- microseconds since the Unix epoch, durations are microseconds.

CREATE TABLE {schema}.state (
    requested    bigint NOT NULL DEFAULT 0,
    acknowledged bigint NOT NULL DEFAULT 0,
    taken        bigint NOT NULL DEFAULT 0,
    token        bigint NOT NULL DEFAULT 0,
    granted      bigint NOT NULL DEFAULT 0,
    next         bigint NOT NULL DEFAULT 0,
    span         bigint NOT NULL DEFAULT 0,
    until        bigint NOT NULL DEFAULT 0,
    lease        bigint NOT NULL DEFAULT 0,
    failures     bigint NOT NULL DEFAULT 0,
    last_from    bigint NOT NULL DEFAULT 0,
    last_through bigint NOT NULL DEFAULT 0,
    last_token   bigint NOT NULL DEFAULT 0,
    due          bigint GENERATED ALWAYS AS (
        CASE
            WHEN requested <= acknowledged THEN NULL
            WHEN owner = '' THEN next
            ELSE greatest(next, until)
        END
    ) STORED,
    last_failed  boolean NOT NULL DEFAULT false,
    format       smallint NOT NULL DEFAULT 1,
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

-- lock locks the row of a key and returns it, or NULL if there is none. It fails if the session's
-- commits may be lost, or if the session may see an older version of the row than the locked one.
CREATE FUNCTION {schema}.lock(namespace text, key text, durable boolean)
RETURNS {schema}.state
LANGUAGE plpgsql AS $throttle$
DECLARE
    s {schema}.state;
BEGIN
    IF durable AND current_setting('synchronous_commit') = 'off' THEN
        RAISE EXCEPTION 'synchronous_commit is off' USING ERRCODE = 'THR01';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'default_transaction_isolation is not read committed' USING ERRCODE = 'THR03';
    END IF;
    SELECT * INTO s FROM {schema}.state t
        WHERE t.namespace = lock.namespace AND t.key = lock.key FOR UPDATE;
    RETURN s;
END
$throttle$;

-- enter returns s as it is at now. It fails if these functions cannot have left s.
CREATE FUNCTION {schema}.enter(s {schema}.state, now bigint)
RETURNS {schema}.state
LANGUAGE plpgsql AS $throttle$
DECLARE
    highest CONSTANT bigint := 9007199254740991;    -- machine.MaxNumber
    longest CONSTANT bigint := 3153600000000000;    -- machine.MaxSpan
    keep    CONSTANT bigint := 10000000;            -- machine.KeepIDs
    problem text;
    n       int;
    old     int := 0;
BEGIN
    problem := CASE
        WHEN s.format <> 1 THEN 'format ' || s.format
        WHEN s.acknowledged < 0 OR s.acknowledged > s.taken OR s.taken > s.requested OR s.requested > highest
            THEN 'acknowledged, taken, requested'
        WHEN s.token NOT BETWEEN 0 AND highest THEN 'token'
        WHEN s.granted NOT BETWEEN 0 AND highest THEN 'granted'
        WHEN s.next NOT BETWEEN 0 AND highest THEN 'next'
        WHEN s.span NOT BETWEEN 0 AND longest THEN 'span'
        WHEN s.until NOT BETWEEN 0 AND highest THEN 'until'
        WHEN s.lease NOT BETWEEN 0 AND longest THEN 'lease'
        WHEN s.failures NOT BETWEEN 0 AND highest THEN 'failures'
        WHEN s.last_from NOT BETWEEN 0 AND highest THEN 'last_from'
        WHEN s.last_through NOT BETWEEN 0 AND highest THEN 'last_through'
        WHEN s.last_token NOT BETWEEN 0 AND highest THEN 'last_token'
        WHEN octet_length(s.owner) > 64 THEN 'owner'
        WHEN octet_length(s.policy) > 256 THEN 'policy'
        WHEN octet_length(s.last_message) > 256 THEN 'last_message'
        WHEN cardinality(s.ids) > 32 OR array_dims(s.ids) <> '[1:' || cardinality(s.ids) || ']' THEN 'ids'
        WHEN array_dims(s.ids_at) IS DISTINCT FROM array_dims(s.ids) THEN 'ids_at'
        WHEN array_position(s.ids, NULL) IS NOT NULL THEN 'ids'
        WHEN array_position(s.ids_at, NULL) IS NOT NULL THEN 'ids_at'
    END;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '% is not valid', problem USING ERRCODE = 'THR02';
    END IF;

    IF s.granted > now THEN
        s.granted := 0;
    END IF;
    s.next := least(s.next, now + s.span);
    s.until := least(s.until, now + s.lease);
    n := cardinality(s.ids_at); -- in ascending order
    IF s.ids_at[n] > now THEN
        s.ids_at := ARRAY(SELECT least(a.at, now) FROM unnest(s.ids_at) WITH ORDINALITY a (at, i) ORDER BY a.i);
    END IF;
    WHILE s.ids_at[old + 1] < now - keep LOOP
        old := old + 1;
    END LOOP;
    IF old > 0 THEN
        s.ids := s.ids[old + 1 :];
        s.ids_at := s.ids_at[old + 1 :];
    END IF;
    RETURN s;
END
$throttle$;

-- leave stores s and returns when its key is due. Its first argument is the row before. If nothing
-- has changed, leave writes nothing, to spare the log.
CREATE FUNCTION {schema}.leave(was {schema}.state, s {schema}.state) RETURNS bigint
LANGUAGE plpgsql AS $throttle$
DECLARE
    due bigint := s.due;
BEGIN
    IF s IS DISTINCT FROM was THEN
        UPDATE {schema}.state t SET
            requested = s.requested, acknowledged = s.acknowledged, taken = s.taken,
            token = s.token, granted = s.granted, next = s.next, span = s.span,
            owner = s.owner, until = s.until, lease = s.lease,
            policy = s.policy, failures = s.failures,
            last_from = s.last_from, last_through = s.last_through, last_token = s.last_token,
            last_failed = s.last_failed, last_message = s.last_message,
            ids = s.ids, ids_at = s.ids_at
        WHERE t.namespace = s.namespace AND t.key = s.key
        RETURNING t.due INTO due;
    END IF;
    RETURN due;
END
$throttle$;

-- claim is machine.State.Claim. It first counts the calls made in transactions.
CREATE FUNCTION {schema}.claim(
    namespace text, key text, durable boolean,
    id text, is_new boolean, age bigint, not_after bigint, seen bigint,
    spacing bigint, lease bigint, policy text,
    OUT verdict smallint, OUT token bigint, OUT failures bigint, OUT hold bigint, OUT poll bigint,
    OUT generation bigint, OUT acknowledged bigint,
    OUT last_from bigint, OUT last_through bigint, OUT last_token bigint,
    OUT last_failed boolean, OUT last_message text, OUT policy_before text, OUT now bigint)
LANGUAGE plpgsql AS $throttle$
DECLARE
    highest CONSTANT bigint := 9007199254740991; -- machine.MaxNumber
    hash    CONSTANT bigint := hashtextextended(id, 0);
    s       {schema}.state;
    was     {schema}.state;
    again   boolean;
    due     bigint;
BEGIN
    LOOP
        s := {schema}.lock(namespace, key, durable);
        EXIT WHEN s.namespace IS NOT NULL;
        INSERT INTO {schema}.state (namespace, key)
            VALUES (claim.namespace, claim.key) ON CONFLICT DO NOTHING;
    END LOOP;
    now := {schema}.clock();
    was := s;
    s := {schema}.enter(s, now);
    IF greatest(s.token, now) >= highest OR s.requested >= highest THEN
        RAISE EXCEPTION 'no higher number is left' USING ERRCODE = 'THR02';
    END IF;
    policy_before := s.policy;

    DELETE FROM {schema}.calls c WHERE c.namespace = claim.namespace AND c.key = claim.key;
    IF FOUND THEN
        s.requested := greatest(s.requested, s.taken + 1);
    END IF;

    IF s.owner = id AND now < s.until THEN
        verdict := 2; -- the client sends the claim again, as the reply was lost
    ELSE
        again := hash = ANY (s.ids);
        IF NOT again THEN
            IF cardinality(s.ids) = 32 THEN -- machine.MaxIDs
                s.ids := s.ids[2:];
                s.ids_at := s.ids_at[2:];
            END IF;
            s.ids := s.ids || hash;
            s.ids_at := s.ids_at || now;
            IF is_new OR age >= 0 AND (s.granted = 0 OR now - age >= s.granted) THEN
                s.requested := greatest(s.requested, s.taken + 1);
            END IF;
        END IF;
        IF s.requested <= s.acknowledged THEN
            verdict := 1;
        ELSIF NOT again AND now <= not_after AND now >= s.next AND (s.owner = '' OR now >= s.until) THEN
            verdict := 2;
            s.token := greatest(s.token + 1, now, seen + 1);
            s.taken := s.requested;
            s.owner := id;
            s.granted := now;
            s.lease := lease;
            s.until := now + lease;
            s.span := spacing;
            s.next := now + spacing;
            s.policy := policy;
        ELSE
            verdict := 3;
        END IF;
    END IF;
    due := {schema}.leave(was, s);

    token := 0;
    failures := 0;
    hold := 0;
    poll := 0;
    IF verdict = 2 THEN
        token := s.token;
        failures := s.failures;
    ELSIF verdict = 3 THEN
        IF s.requested > s.taken THEN
            hold := greatest(0, s.next - now);
        END IF;
        poll := greatest(0, due - now);
    END IF;
    generation := s.requested;
    acknowledged := s.acknowledged;
    last_from := s.last_from;
    last_through := s.last_through;
    last_token := s.last_token;
    last_failed := s.last_failed;
    last_message := s.last_message;
END
$throttle$;

-- finish is machine.State.Finish. It does not notify: the server commits notifying transactions one
-- after the other, and each would wait for the disk alone.
CREATE FUNCTION {schema}.finish(
    namespace text, key text, durable boolean,
    token bigint, ran boolean, failed boolean, message text, again boolean, delay bigint, failures bigint,
    OUT stale boolean, OUT pending boolean, OUT poll bigint, OUT now bigint)
LANGUAGE plpgsql AS $throttle$
DECLARE
    s   {schema}.state;
    was {schema}.state;
    due bigint;
BEGIN
    stale := true;
    pending := false;
    poll := 0;
    s := {schema}.lock(namespace, key, durable);
    now := {schema}.clock();
    IF s.namespace IS NULL THEN
        RETURN;
    END IF;
    was := s;
    s := {schema}.enter(s, now);
    IF s.owner = '' OR token <> s.token THEN
        PERFORM {schema}.leave(was, s);
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
        s.requested := greatest(s.requested, s.taken + 1);
    END IF;
    IF delay > 0 AND now + delay > s.next THEN
        s.span := delay;
        s.next := now + delay;
    END IF;
    due := {schema}.leave(was, s);
    pending := due IS NOT NULL;
    IF pending THEN
        poll := greatest(0, due - now);
    END IF;
END
$throttle$;

-- renew is machine.State.Renew.
CREATE FUNCTION {schema}.renew(namespace text, key text, durable boolean, token bigint) RETURNS boolean
LANGUAGE plpgsql AS $throttle$
DECLARE
    s    {schema}.state;
    was  {schema}.state;
    now  bigint;
    held boolean;
BEGIN
    s := {schema}.lock(namespace, key, durable);
    IF s.namespace IS NULL THEN
        RETURN false;
    END IF;
    now := {schema}.clock();
    was := s;
    s := {schema}.enter(s, now);
    held := s.owner <> '' AND token = s.token;
    IF held THEN
        s.until := now + s.lease;
    END IF;
    PERFORM {schema}.leave(was, s);
    RETURN held;
END
$throttle$;

-- due returns the due keys after the first skip of them, at most page. Keys with calls made in
-- transactions are always due, because only a claim can find out when they may run.
CREATE FUNCTION {schema}.due(
    namespace text, skip int, page int,
    OUT keys text[], OUT more boolean, OUT next bigint, OUT now bigint)
LANGUAGE plpgsql AS $throttle$
DECLARE
    reach CONSTANT bigint := skip::bigint + page + 1;
BEGIN
    now := {schema}.clock();
    SELECT coalesce(array_agg(k.key ORDER BY k.since, k.key), '{}') INTO keys
    FROM (
        SELECT u.key, min(u.since) AS since
        FROM (
            (SELECT t.key, t.due AS since FROM {schema}.state t
             WHERE t.namespace = due.namespace AND t.due <= due.now
             ORDER BY t.due, t.key LIMIT reach)
            UNION ALL
            (SELECT c.key, min(c.at) AS since FROM {schema}.calls c
             WHERE c.namespace = due.namespace
             GROUP BY c.key ORDER BY since, c.key LIMIT reach)
        ) u
        GROUP BY u.key
        ORDER BY since, u.key OFFSET skip LIMIT page + 1
    ) k;
    more := cardinality(keys) > page;
    next := -1;
    IF more THEN
        keys := keys[: page];
    ELSE
        SELECT coalesce(min(t.due) - due.now, -1) INTO next FROM {schema}.state t
        WHERE t.namespace = due.namespace AND t.due > due.now;
    END IF;
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
