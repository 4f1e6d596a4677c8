import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

export interface MigrationStatus {
  /** `setup`, `active`, `completed`, `failed`, ... */
  readonly status: string;
  /** Milliseconds for which the guest did not run, once completed. */
  readonly downtime?: number;
  readonly 'error-desc'?: string;
}

const RETRY_MS = 50;

/** QEMU's monitor on a Unix socket, one command after another. */
export class Qmp {
  private readonly socket: Socket;
  private readonly answers: ((line: Record<string, unknown>) => void)[] = [];
  private ended = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('close', () => {
      this.ended = true;
      for (const answer of this.answers.splice(0)) answer({ error: { desc: 'QEMU has ended' } });
    });
    const lines = createInterface({ input: socket });
    // It passes errors of the socket on, which 'close' tells of as well.
    lines.on('error', () => {});
    lines.on('line', (text) => {
      const line = JSON.parse(text) as Record<string, unknown>;
      if ('return' in line || 'error' in line) this.answers.shift()?.(line);
    });
  }

  /** Waits until QEMU listens there; the caller's time limit ends that. */
  static async connect(path: string): Promise<Qmp> {
    for (;;) {
      const socket = createConnection(path);
      const connected = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true));
        socket.once('error', () => resolve(false));
      });
      if (connected) {
        const qmp = new Qmp(socket);
        await qmp.call('qmp_capabilities');
        return qmp;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** @throws Error with what QEMU says */
  async call(execute: string, args: object = {}): Promise<unknown> {
    if (this.ended) throw new Error(`${execute}: QEMU has ended`);
    const line = await new Promise<Record<string, unknown>>((resolve) => {
      this.answers.push(resolve);
      this.socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    });
    if ('return' in line) return line.return;
    throw new Error(`${execute}: ${(line.error as { desc: string }).desc}`);
  }

  migration(): Promise<MigrationStatus> {
    return this.call('query-migrate') as Promise<MigrationStatus>;
  }

  /** Waits until the migration has one of these states. */
  async untilMigration(...states: string[]): Promise<MigrationStatus> {
    for (;;) {
      const status = await this.migration();
      if (states.includes(status.status)) return status;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  close(): void {
    this.socket.destroy();
  }
}
