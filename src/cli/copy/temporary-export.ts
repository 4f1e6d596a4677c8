import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BlockDevice, BlockOp, type BlockRequest, DeviceLayer } from '../../block/index.js';
import type { Clock } from '../../common/clock.js';
import type { Logger } from '../../common/log.js';
import type { Io } from '../../io/index.js';
import { NbdServer, nbdUri } from '../../nbd-server/index.js';

/**
 * Serves one open device over NBD on a socket that only this user reaches, while `work` runs. The device stays
 * open, and what was written to it is flushed by who asks for this.
 */
export async function withTemporaryExport<T>(
  device: BlockDevice,
  name: string,
  env: { io: Io; clock: Clock; log: Logger },
  work: (uri: string) => Promise<T>,
): Promise<T> {
  // Mode 0700.
  const directory = await mkdtemp(join(tmpdir(), 'rawstor-'));
  const exports = { list: async () => [{ name }], open: async () => new OnLoan(device) };
  const server = new NbdServer({ ...env, exports });
  try {
    const address = await server.listen(`unix:${join(directory, 'nbd.sock')}`);
    return await work(nbdUri(address, name));
  } finally {
    await server.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** The same device, whose owner flushes and closes it. */
class OnLoan extends DeviceLayer {
  override submit(request: BlockRequest): void {
    if (request.op !== BlockOp.FLUSH) return this.inner.submit(request);
    // The report of a loss is given once. qemu-img flushes as it closes, and passes over what it is told then.
    setImmediate(() => request.owner.blockDone(request, null));
  }

  override async close(): Promise<void> {}
}
