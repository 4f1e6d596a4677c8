import { createServer } from 'node:net';
import { RawstorError } from '../../common/errors.js';

export interface PortWish {
  /** For messages: `ost-1`. */
  readonly name: string;
  /** Demanded by an option: it, or an error. */
  readonly demanded?: number;
  /** What happens without the option. */
  readonly otherwise?: string;
  /** Taken when they are free, in this order; then any free one. */
  readonly liked: readonly number[];
}

/**
 * A port for each wish, all different and free a moment ago.
 * @throws RawstorError BUSY naming the port that was demanded and the option
 */
export async function choosePorts(
  host: string,
  wishes: readonly PortWish[],
  option: string,
): Promise<number[]> {
  const taken = new Set<number>();
  const chosen: number[] = [];
  for (const wish of wishes) {
    const port = await choose(host, wish, taken, option);
    taken.add(port);
    chosen.push(port);
  }
  return chosen;
}

async function choose(host: string, wish: PortWish, taken: Set<number>, option: string): Promise<number> {
  if (wish.demanded !== undefined) {
    if (wish.demanded > 65535) {
      throw new RawstorError(
        'USAGE',
        `${wish.name} would need port ${wish.demanded}, the last one is 65535`,
        {
          where: option,
          hint: 'give a lower one',
        },
      );
    }
    if (!taken.has(wish.demanded) && (await isFree(host, wish.demanded))) {
      return wish.demanded;
    }
    throw new RawstorError('BUSY', `port ${wish.demanded} for ${wish.name} is in use by another program`, {
      where: `tcp://${host}:${wish.demanded}`,
      hint: `choose another with ${option}, or leave ${option} out: ${wish.otherwise ?? 'free ones are then found'}`,
    });
  }
  for (const port of wish.liked) if (!taken.has(port) && (await isFree(host, port))) return port;
  for (;;) {
    const port = await anyFree(host);
    if (!taken.has(port)) return port;
  }
}

async function isFree(host: string, port: number): Promise<boolean> {
  try {
    await listenOnce(host, port);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // 1024 and below may be forbidden: as good as taken.
    if (code === 'EADDRINUSE' || code === 'EACCES') return false;
    throw new RawstorError('USAGE', `cannot listen on '${host}': ${(error as Error).message}`, {
      where: '--listen',
      hint: 'give an address of this machine',
    });
  }
}

const anyFree = (host: string) => listenOnce(host, 0);

function listenOnce(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host, port }, () => {
      const address = server.address();
      const real = typeof address === 'object' && address !== null ? address.port : port;
      server.close(() => resolve(real));
    });
  });
}
