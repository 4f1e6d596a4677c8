import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, expect, it } from 'vitest';
import { begin, run, UpCluster, until } from './programs.js';

const MINUTES = 60_000;

/** As a service manager does: listens, then becomes the program, which finds the socket as descriptor 3. */
const ACTIVATE = `
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + '.new')
listener.listen()
os.rename(sys.argv[1] + '.new', sys.argv[1])
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ['LISTEN_FDS'] = sys.argv[2]
os.environ['LISTEN_PID'] = str(os.getpid())
os.execvp(sys.argv[3], sys.argv[3:])
`;

let up: UpCluster | null = null;

afterEach(async () => {
  await up?.remove();
  up = null;
}, MINUTES);

/** One that has no path, and one that cannot be listened on. */
const ACTIVATE_ODD = `
import os, socket, sys
if sys.argv[1] == 'datagrams':
    odd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    odd.bind(('127.0.0.1', 0))
else:
    odd = socket.socket(socket.AF_UNIX)
    odd.bind('\\0' + sys.argv[1])
    odd.listen()
os.dup2(odd.fileno(), 3)
os.set_inheritable(3, True)
os.environ['LISTEN_FDS'] = '1'
os.environ['LISTEN_PID'] = str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
`;

const GREETED = `
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect('\\0' + sys.argv[1])
print(client.recv(8).decode())
`;

it(
  'a gateway serves an abstract socket, and refuses one that nobody can connect to',
  async () => {
    up = await UpCluster.start(['--osts', '1', '--volume', 'vm1:64M']);
    const name = `rawstor-test-${process.pid}`;
    const by = (socket: string) => ({ cwd: up!.cwd, by: ['python3', '-c', ACTIVATE_ODD, socket] });
    const args = ['serve', 'nbd', '--mds', up.facts.mds];
    const gateway = begin('cli/rawstor', args, by(name));
    try {
      await until(() => readFileSync('/proc/net/unix', 'utf8').includes(`@${name}`));
      for (let client = 0; client < 2; client++) {
        expect((await execa('python3', ['-c', GREETED, name])).stdout).toBe('NBDMAGIC');
      }
    } finally {
      gateway.kill('SIGTERM');
    }
    const ended = await gateway;
    expect(ended.exitCode, ended.stderr).toBe(0);
    const none = await run('cli/rawstor', args, by('datagrams'));
    expect(none.code).toBe(64);
    expect(none.stderr).toContain('no socket that listens');
  },
  2 * MINUTES,
);

it(
  'a gateway serves the sockets it was started with',
  async () => {
    up = await UpCluster.start(['--osts', '1', '--volume', 'vm1:64M']);
    const socket = join(up.cwd, 'activated.sock');
    const activated = (count: string) => ({
      cwd: up!.cwd,
      by: ['python3', '-c', ACTIVATE, socket, count],
    });
    const gateway = begin('cli/rawstor', ['serve', 'nbd', '--mds', up.facts.mds], activated('1'));
    try {
      // Clients may come before the gateway does: they wait in the socket's queue.
      await until(() => existsSync(socket));
      const uri = `nbd+unix:///vm1?socket=${socket}`;
      expect((await execa('nbdinfo', ['--size', uri])).stdout).toBe(`${64 * 2 ** 20}`);
    } finally {
      gateway.kill('SIGTERM');
      expect((await gateway).exitCode).toBe(0);
    }
    // The socket belongs to who made it.
    expect(existsSync(socket)).toBe(true);
    const none = await run('cli/rawstor', ['serve', 'nbd', '--mds', up.facts.mds], {
      ...activated('2'),
      by: ['python3', '-c', ACTIVATE, `${socket}.2`, '2'],
    });
    expect(none.code).toBe(64);
    expect(none.stderr).toContain('fd:4');
  },
  2 * MINUTES,
);
