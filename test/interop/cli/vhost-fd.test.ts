import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { closeDescriptor, DescriptorSocket } from '../../../src/io/index.js';
import { FrontEnd } from '../../fixtures/vhost/connection.js';
import { writeAndReadBack } from '../../fixtures/vhost/round-trip.js';
import { programArgs, UpCluster, until } from './programs.js';

/** A front-end that starts the back-end itself, and gives it the socket. */

const MINUTES = 60_000;
let up: UpCluster | null = null;
afterEach(() => up?.remove());

test(
  'a connected socket is served until the front-end is gone, then the process ends in order',
  async () => {
    up = await UpCluster.start(['--volume', 'vm1:64M:2']);
    const { cwd } = up;
    const [ours, theirs] = DescriptorSocket.pair();
    const args = [...programArgs('vhost/main'), 'vm1', '--fd', '3'];
    const server = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'pipe', theirs.fd] });
    let said = '';
    server.stderr!.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    const ended = once(server, 'exit');
    closeDescriptor(theirs.fd);
    const front = new FrontEnd(ours);
    await writeAndReadBack(front);
    front.close();
    expect((await ended)[0], said).toBe(0);
    await until(async () => JSON.parse((await up!.volume('info', 'vm1', '--output', 'json')).stdout).clean);
  },
  2 * MINUTES,
);
