import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlockDevice } from '../../block/index.js';
import type { Clock } from '../../common/clock.js';
import type { Logger } from '../../common/log.js';
import type { Io } from '../../io/index.js';
import { NbdServer, nbdUri } from '../../nbd-server/index.js';

/**
 * Serves one open device over NBD on a socket that only this user reaches, while `work` runs. The device stays
 * open.
 */
export async function withTemporaryExport<T>(
  device: BlockDevice,
  name: string,
  env: { io: Io; clock: Clock; log: Logger },
  work: (uri: string) => Promise<T>,
): Promise<T> {
  // Mode 0700.
  const directory = await mkdtemp(join(tmpdir(), 'rawstor-'));
  const exports = { list: async () => [{ name }], open: async () => keptOpen(device) };
  const server = new NbdServer({ ...env, exports });
  try {
    const address = await server.listen(`unix:${join(directory, 'nbd.sock')}`);
    return await work(nbdUri(address, name));
  } finally {
    await server.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** The same device, whose owner closes it. */
function keptOpen(device: BlockDevice): BlockDevice {
  return {
    sizeBytes: device.sizeBytes,
    readOnly: device.readOnly,
    limits: device.limits,
    multiConnection: device.multiConnection,
    submit: (request) => device.submit(request),
    extents: (offset, length) => device.extents(offset, length),
    close: async () => {},
  };
}
