// Debounces keys across processes with BullMQ, and prints what it costs, how late the runs
// are, and what survives, as one line of JSON:
//
//   npm ci && node debounce.mjs --port 6379
//
// Times are in milliseconds. One clock, Date.now() of this machine, gives them all.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import Redis from 'ioredis';

const defaults = {
  host: '127.0.0.1', port: '6379', processes: '8', workers: '2', concurrency: '50', quiet: '1000',
  keys: '100', calls: '5', over: '2000', rounds: '3', // a burst is calls of each key by each process
  trials: '20', // of a call during a run, of each kind
  stalled: '90000', // how long to wait for a killed worker's job, 0 to leave this out
};
const { values } = parseArgs({ options: Object.fromEntries(Object.entries(defaults).map(([k, v]) => [k, { type: 'string', default: v }])) });
const { host, ...numbers } = values;
const o = Object.fromEntries(Object.entries(numbers).map(([k, v]) => [k, Number(v)]));
const connection = { host, port: o.port };
const settings = JSON.stringify({ name: `debounce-${process.pid}`, connection, quiet: o.quiet, concurrency: o.concurrency });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const redis = new Redis(connection);

const children = [];

// What the children have reported.
const runs = []; // { key, id, start, end, child }
const called = new Map(); // the last single call of each key
const errors = new Map(); // counts
let react = () => {}; // to a run
const runsAfter = (key, time) => runs.filter((r) => r.key === key && r.start >= time);

async function start(role) {
  const child = fork(new URL('child.mjs', import.meta.url), [role, settings], { stdio: ['ignore', 2, 2, 'ipc'] });
  child.on('message', (m) => {
    if (m.run) { runs.push({ ...m.run, child }); react(runs.at(-1)); }
    if (m.end) for (const r of runs) if (r.id === m.end && r.child === child) r.end = m.at;
    if (m.called) called.set(m.key, m.called);
    if (m.error) errors.set(m.error, (errors.get(m.error) ?? 0) + 1);
  });
  children.push(child);
  await answer(child, 'ready');
  return child;
}

// answer returns the next answer of a child that has the field.
function answer(child, field) {
  return new Promise((resolve, reject) => {
    const settle = (how, value) => {
      child.off('message', onMessage).off('exit', onExit);
      how(value);
    };
    const onMessage = (m) => {
      if (field in m) settle(resolve, m[field]);
      else if (m.error) settle(reject, new Error(m.error));
    };
    const onExit = (code, signal) => settle(reject, new Error(`a child ended: ${code ?? signal}`));
    child.on('message', onMessage).on('exit', onExit);
  });
}

async function until(timeout, condition) {
  for (const end = Date.now() + timeout; !condition() && Date.now() < end;) await sleep(20);
}

// counts returns how many commands clients have sent, and how many Redis has executed, those
// in scripts included. Once connected, BullMQ sends only scripts and BZPOPMIN here.
async function counts() {
  const sum = { messages: 0, commands: 0 };
  for (const [, command, n] of (await redis.info('commandstats')).matchAll(/cmdstat_([^:]+):calls=(\d+)/g)) {
    sum.commands += Number(n);
    if (['eval', 'evalsha', 'bzpopmin'].includes(command)) sum.messages += Number(n);
  }
  return sum;
}

function percentiles(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = (p) => sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? null;
  return { min: at(0), p50: at(0.5), p99: at(0.99), max: at(1) };
}

async function bursts(callers) {
  const total = { keys: 0, calls: 0, seconds: 0, runs: 0, missed: 0, messages: 0, commands: 0 };
  const late = [];
  for (let round = 0; round < o.rounds; round++) {
    const prefix = `burst-${round}-`;
    const [before, begun] = [await counts(), Date.now()];
    const answers = callers.map((c) => answer(c, 'burst'));
    for (const c of callers) c.send({ order: 'burst', prefix, keys: o.keys, calls: o.calls, over: o.over });
    const last = {};
    for (const { calls, last: own } of await Promise.all(answers)) {
      total.calls += calls;
      for (const [key, time] of Object.entries(own)) last[key] = Math.max(last[key] ?? 0, time);
    }
    total.seconds += (Date.now() - begun) / 1000;
    const keys = Object.entries(last);
    await until(o.quiet + 10_000, () => keys.every(([key, time]) => runsAfter(key, time).length > 0));
    await sleep(200); // for the ends of the runs
    const after = await counts();
    total.messages += after.messages - before.messages;
    total.commands += after.commands - before.commands - 1; // INFO
    for (const [key, time] of keys) {
      const found = runsAfter(key, time);
      total.keys++;
      total.runs += runsAfter(key, 0).length;
      if (found.length === 0) total.missed++;
      else late.push(Math.max(...found.map((r) => r.start)) - time - o.quiet);
    }
  }
  const { messages, commands, ...rest } = total;
  const per = (n) => Math.round((n / total.calls) * 1000);
  return { ...rest, messagesPerThousand: per(messages), commandsPerThousand: per(commands), lateness: percentiles(late) };
}

// The moments of a key's second call: a few milliseconds after its job became due; first
// thing in its run, from the run itself; in the middle of its run, from another process.
const moments = ['due', 'start', 'middle'];

// callAgain calls keys again while their jobs become active, or are. The second call is lost
// if no run begins after it.
async function callAgain(callers, keep) {
  const busy = 2.5 * o.quiet;
  const kinds = moments.map((moment) => ({
    moment, keys: Array.from({ length: o.trials * (moment === 'due' ? 5 : 1) }, (_, i) => `again-${keep}-${moment}-${i}`),
  }));
  const first = new Map(); // the first run of each key
  react = (r) => {
    if (first.has(r.key)) return;
    first.set(r.key, r);
    if (r.key.includes('middle')) setTimeout(() => callers[0].send({ order: 'call', key: r.key, data: { keep } }), busy / 2);
  };
  for (const { moment, keys } of kinds) {
    for (const [i, key] of keys.entries()) {
      const caller = callers[i % callers.length];
      if (moment === 'due') {
        caller.send({ order: 'twice', key, data: { keep, busy: 100 }, gap: o.quiet + (i % 8) });
        await sleep(10);
      } else {
        caller.send({ order: 'call', key, data: { keep, busy, again: moment === 'start' } });
      }
    }
  }
  // next returns the first run after the second call, undefined if there is none.
  const next = (moment, key) => runsAfter(key, called.get(key)).find((r) => moment === 'due' || r !== first.get(key));
  const wait = o.quiet + busy + Math.max(busy, o.quiet) + 3000;
  await until(wait, () => kinds.every(({ moment, keys }) => keys.every((key) => {
    const old = first.get(key);
    return old?.end && (moment === 'due' || called.get(key) >= old.start) && next(moment, key);
  })));
  react = () => {};
  return kinds.map(({ moment, keys }) => {
    const result = { keepLastIfActive: keep, moment, calls: 0, lost: 0, overlapped: 0 };
    const waits = [];
    for (const key of keys) {
      const [old, time] = [first.get(key), called.get(key)];
      if (!old || !time || (moment !== 'due' && time < old.start)) continue; // the second call has not been made
      const after = next(moment, key);
      result.calls++;
      if (!after) result.lost++;
      else waits.push(after.start - time);
      if (after && after !== old && after.start < old.end) result.overlapped++;
    }
    return { ...result, wait: percentiles(waits) };
  });
}

const startAll = (role, n) => Promise.all(Array.from({ length: n }, () => start(role)));

// killCallers kills callers as soon as Redis has answered their calls.
async function killCallers() {
  const victims = await startAll('caller', o.processes);
  const exits = victims.map((v) => once(v, 'exit'));
  victims.forEach((v, i) => v.send({ order: 'vanish', key: `vanish-${i}` }));
  await Promise.all(exits);
  const ran = () => victims.filter((_, i) => runsAfter(`vanish-${i}`, 0).length > 0).length;
  await until(o.quiet + 5000, () => ran() === victims.length);
  return { calls: victims.length, ran: ran() };
}

// killWorker kills a worker in mid-run.
async function killWorker(callers) {
  let killed = null;
  react = (r) => {
    if (killed || r.key !== 'stalled') return;
    setTimeout(() => { r.child.kill('SIGKILL'); killed = Date.now(); }, 500);
  };
  callers[0].send({ order: 'call', key: 'stalled', data: { busy: 10 * 60_000 } });
  await until(o.quiet + 5000, () => killed);
  if (!killed) throw new Error('the job has not run');
  await until(o.stalled, () => runsAfter('stalled', killed).length > 0);
  const [again] = runsAfter('stalled', killed);
  return { ranAgain: Boolean(again), after: again ? again.start - killed : null };
}

try {
  const callers = await startAll('caller', o.processes);
  await startAll('worker', o.workers);
  const result = {
    bullmq: createRequire(import.meta.url)('bullmq/package.json').version,
    node: process.version,
    redis: /redis_version:(\S+)/.exec(await redis.info('server'))?.[1],
    processes: o.processes, workers: o.workers, concurrency: o.concurrency, quiet: o.quiet,
    burst: await bursts(callers),
    again: o.trials ? [...await callAgain(callers, false), ...await callAgain(callers, true)] : [],
    callerKilled: await killCallers(),
    workerKilled: o.stalled ? await killWorker(callers) : null,
    errors: Object.fromEntries(errors),
  };
  console.log(JSON.stringify(result));
} finally {
  for (const c of children) c.kill('SIGKILL');
  redis.disconnect();
}
