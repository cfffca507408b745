// One holder of kimi-code's lock, with the package and the options that kimi-code itself uses.
// It obeys lines on stdin (lock, release, block MS, turns N DIRECTORY, exit), answers each with one line, and ends with stdin.
// Nothing catches ECOMPROMISED, as in kimi-code: the process ends with status 1.
const { appendFileSync, closeSync, mkdirSync, openSync, readFileSync, unlinkSync, writeFileSync } = require("node:fs");
const { dirname, join } = require("node:path");
const { createInterface } = require("node:readline");
const lockfile = require("proper-lockfile");

const target = process.argv[2];
mkdirSync(dirname(target), { recursive: true });
appendFileSync(target, "");

const OPTIONS = {
  retries: { retries: 120, factor: 1, minTimeout: 500, maxTimeout: 1000 },
  stale: 5000,
  realpath: false,
};
const QUICK = { ...OPTIONS, retries: { retries: 4000, factor: 1, minTimeout: 5, maxTimeout: 20 } };
let release;

const lock = async (options = OPTIONS) => {
  const from = Date.now();
  release = await lockfile.lock(target, options);
  return `locked ${Date.now() - from}`;
};

// Two detectors: a marker that only one can make, and a count that loses steps when two are inside.
const turns = async (number, directory) => {
  let overlaps = 0;
  for (let turn = 0; turn < number; turn += 1) {
    await lock(QUICK);
    try {
      closeSync(openSync(join(directory, "inside"), "wx"));
    } catch {
      overlaps += 1;
    }
    const before = Number(readFileSync(join(directory, "count"), "utf8"));
    await new Promise((resolve) => setTimeout(resolve, 1));
    writeFileSync(join(directory, "count"), String(before + 1));
    unlinkSync(join(directory, "inside"));
    await release();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return `overlaps ${overlaps}`;
};

const block = (ms) => {
  const until = Date.now() + ms;
  while (Date.now() < until);
  return "unblocked";
};

const obey = async ([word, ...rest]) => {
  if (word === "lock") return lock();
  if (word === "release") return release().then(() => "released");
  if (word === "block") return block(Number(rest[0]));
  if (word === "turns") return turns(Number(rest[0]), rest[1]);
  return process.exit(0);
};

(async () => {
  console.log("ready");
  for await (const line of createInterface({ input: process.stdin })) console.log(await obey(line.split(" ")));
  process.exit(0);
})();
