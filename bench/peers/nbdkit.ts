import { join } from 'node:path';
import { needPackages } from '../packages.js';
import { startServer } from '../process.js';
import type { StartSubject, Subject, SubjectOptions } from '../types.js';
import { createImage } from './image.js';
import { createLuks } from './qemu-nbd.js';

async function start(name: string, plugin: readonly string[], options: SubjectOptions): Promise<Subject> {
  const socketPath = join(options.dir, 'nbd.sock');
  const server = await startServer('nbdkit', ['--foreground', `--unix=${socketPath}`, ...plugin], {
    socketPath,
    cpu: options.cpu,
  });
  return {
    name,
    uri: `nbd+unix:///?socket=${socketPath}`,
    pids: [server.pid],
    stop: () => server.stop(),
  };
}

export const startNbdkitFile: StartSubject = async (options) => {
  needPackages('nbdkit');
  const image = await createImage(options.dir, 'disk.raw', options.sizeBytes);
  return await start('nbdkit file', ['file', image], options);
};

export const startNbdkitLuks: StartSubject = async (options) => {
  needPackages('nbdkit', 'qemu-utils');
  const { image, passphraseFile } = await createLuks(options);
  return await start(
    'nbdkit LUKS',
    ['--filter=luks', 'file', image, `passphrase=+${passphraseFile}`],
    options,
  );
};
