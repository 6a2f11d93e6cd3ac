// Runs checks of an official JavaScript client against `fact mocks`: each check with mocks of its own.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const CHECKS = [];

/** Registers a check: `run` gets the addresses of mocks that do as `script` says. */
export function check(name, run, script) {
  CHECKS.push({ name, run, script });
}

/** Awaits a failure of exactly this class. */
export async function fails(kind, promise) {
  try {
    await promise;
  } catch (error) {
    assert.equal(error.constructor, kind, `${error.constructor.name}: ${error.message}`);
    return error;
  }
  assert.fail(`expected ${kind.name}`);
}

/** All items of all pages. */
export async function all(page) {
  const items = [];
  for await (const item of page) items.push(item);
  return items;
}

/** Runs one check against mocks of its own; returns what went wrong, or nothing. */
async function attempt(fact, { run, script }) {
  const folder = mkdtempSync(join(tmpdir(), 'client-checks-'));
  const options = ['mocks', '--claude', '127.0.0.1:0', '--arcade', '127.0.0.1:0', '--seed', '7'];
  if (script) {
    const file = join(folder, 'script.yaml');
    writeFileSync(file, JSON.stringify(script));
    options.push('--script', file);
  }
  const mocks = spawn(fact, options, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(mocks, 'close');
  try {
    const { value: line } = await createInterface(mocks.stdout)[Symbol.asyncIterator]().next();
    if (!line) throw new Error(`${fact} ${options.join(' ')} did not start`);
    await run(JSON.parse(line));
  } catch (error) {
    return error.stack;
  } finally {
    mocks.kill();
    await ended;
    rmSync(folder, { recursive: true });
  }
}

/** Runs all checks against this executable. */
export async function main(fact) {
  const began = performance.now();
  const waiting = [...CHECKS];
  let failed = 0;
  const lane = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const trouble = await attempt(fact, next);
      if (!trouble) continue;
      failed += 1;
      console.log(`FAILED ${next.name}\n${trouble}`);
    }
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${CHECKS.length - failed} of ${CHECKS.length} checks passed in ${seconds} s`);
  process.exitCode = failed ? 1 : 0;
}
