// A process of the fleet that debounce.mjs starts: a caller or a worker of BullMQ.
import { Queue, Worker } from 'bullmq';

const [role, text] = process.argv.slice(2);
const { name, connection, quiet, concurrency } = JSON.parse(text);
const queue = new Queue(name, { connection });
queue.on('error', (err) => process.send({ error: String(err) }));

// call debounces key as BullMQ's documentation says, and returns the time of the call. The
// promise settles when Redis has answered.
async function call(key, data = {}) {
  const called = Date.now();
  const deduplication = { id: key, ttl: quiet, extend: true, replace: true };
  if (data.keep) deduplication.keepLastIfActive = true;
  await queue.add('run', { key, ...data }, { delay: quiet, deduplication });
  return called;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// burst calls each key a number of times, evenly over a time, and returns the last call of
// each. It does not wait for an answer before the next call.
async function burst({ prefix, keys, calls, over }) {
  const last = {};
  const begun = Date.now();
  const answers = [];
  for (let i = 0; i < keys * calls; i++) {
    const early = begun + (i * over) / (keys * calls) - Date.now();
    if (early > 0) await sleep(early);
    const key = prefix + (i % keys);
    answers.push(call(key).then((called) => { last[key] = Math.max(last[key] ?? 0, called); }));
  }
  await Promise.all(answers);
  return { calls: answers.length, last };
}

const orders = {
  async burst(order) { process.send({ burst: await burst(order) }); },
  async call({ key, data }) { process.send({ called: await call(key, data), key }); },
  // twice calls key, and again after a gap, which ends about when the job is due.
  async twice({ key, data, gap }) {
    const second = call(key, data).then(async (called) => {
      await sleep(called + gap - Date.now());
      return call(key, data);
    });
    process.send({ called: await second, key });
  },
  async vanish({ key }) {
    await call(key);
    process.kill(process.pid, 'SIGKILL');
  },
};

async function run(job) {
  const { key, busy, again, keep } = job.data;
  process.send({ run: { key, id: job.id, start: Date.now() } });
  if (again) process.send({ called: await call(key, { keep }), key });
  if (busy) await sleep(busy);
  process.send({ end: job.id, at: Date.now() });
}

process.on('disconnect', () => process.exit());
await queue.waitUntilReady();
if (role === 'worker') {
  const worker = new Worker(name, run, { connection, concurrency });
  worker.on('error', (err) => process.send({ error: String(err) }));
  await worker.waitUntilReady();
} else {
  process.on('message', ({ order, ...rest }) => orders[order](rest).catch((err) => process.send({ error: String(err) })));
}
process.send({ ready: true });
