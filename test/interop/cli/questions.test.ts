import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { programArgs, UpCluster } from './programs.js';

/** Questions at a terminal. */

/** Runs a program on a terminal of its own, presses a key at the question, says what it has said and ends as it does. */
const AT_A_TERMINAL = `
import os, pty, sys
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[2], sys.argv[2:])
said, pressed = b'', False
while True:
    try: some = os.read(fd, 4096)
    except OSError: break
    if not some: break
    said += some
    if not pressed and b'[y/N]' in said:
        os.write(fd, bytes.fromhex(sys.argv[1]))
        pressed = True
sys.stdout.buffer.write(said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

let up: UpCluster;
beforeAll(async () => {
  up = await UpCluster.start(['--osts', '1', '--volume', 'vm1:16M:1']);
  writeFileSync(join(up.cwd, 'terminal.py'), AT_A_TERMINAL);
}, 120_000);
afterAll(() => up?.remove(), 60_000);

it.each([
  { key: 'Ctrl-C', bytes: '03', code: 130, says: /\n.*interrupted by SIGINT/ },
  { key: 'Ctrl-D', bytes: '04', code: 77, says: /nothing was done/ },
  { key: 'n', bytes: '6e0d', code: 77, says: /nothing was done/ },
  { key: 'y', bytes: '790d', code: 0, says: /removed/ },
])(
  '$key ends one with $code',
  async ({ bytes, code, says }) => {
    const { RAWSTOR_LOCATION: _, ...env } = process.env;
    const args = ['terminal.py', bytes, process.execPath, ...programArgs('cli/rawstor-volume'), 'rm', 'vm1'];
    const { exitCode, stdout } = await execa('python3', args, {
      cwd: up.cwd,
      env,
      extendEnv: false,
      reject: false,
    });
    expect(exitCode, stdout).toBe(code);
    expect(stdout).toMatch(says);
    expect(stdout).not.toContain('INTERNAL');
    expect((await up.volume('info', 'vm1')).code).toBe(code === 0 ? 66 : 0);
  },
  30_000,
);
