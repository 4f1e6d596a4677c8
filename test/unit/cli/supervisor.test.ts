import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Supervisor } from '../../../src/cli/up/supervisor.js';
import { systemClock } from '../../../src/common/clock.js';

let cwd: string;
const { execPath } = process;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'rawstor-supervisor-'));
});
afterEach(() => {
  process.execPath = execPath;
  rmSync(cwd, { recursive: true, force: true });
});

test('a server whose process cannot be made is said to have failed, so that it is tried again', async () => {
  const supervisor = new Supervisor(systemClock, () => {});
  process.execPath = join(cwd, 'none');
  const started = supervisor.start({ name: 'mgs', args: [], logFile: join(cwd, 'log') });
  await expect(started).rejects.toMatchObject({
    code: 'OS_ERROR',
    message: expect.stringMatching(/mgs cannot be started.*ENOENT/),
  });
  await supervisor.stop();
}, 10_000);
