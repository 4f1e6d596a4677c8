import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../../src/common/clock.js';
import type { Io } from '../../../src/io/index.js';
import { Connection, type MethodName, type Params, type Result } from '../../../src/protocol/index.js';

const FIXTURE = fileURLToPath(new URL('../../fixtures/mds-process.ts', import.meta.url));

/** An MDS in a process of its own. */
export class MdsProcess {
  readonly address: string;
  private readonly child: ChildProcess;

  private constructor(child: ChildProcess, address: string) {
    this.child = child;
    this.address = address;
  }

  /** Fails with what the process said when it does not come up. */
  static async start(dir: string): Promise<MdsProcess> {
    const child = spawn(process.execPath, ['--import', 'tsx', FIXTURE, dir], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const exited = once(child, 'close').then(([code, signal]) => {
      throw new ProcessEnd(code, signal, said);
    });
    const line = once(child.stdout.setEncoding('utf8'), 'data') as Promise<[string]>;
    const [address] = await Promise.race([line, exited]);
    exited.catch(() => {});
    return new MdsProcess(child, address.trim());
  }

  /** As a crash of the process: nothing is finished. */
  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const closed = once(this.child, 'close');
    this.child.kill(signal);
    await closed;
  }
}

export class ProcessEnd extends Error {
  readonly code: number | null;
  readonly said: string;
  constructor(code: number | null, signal: string | null, said: string) {
    super(`the process ended with ${code ?? signal}: ${said}`);
    this.code = code;
    this.said = said;
  }
}

/** A client's connection, with the events it got. */
export class TestClient {
  readonly connection: Connection;
  readonly events: { name: string; params: unknown }[];
  private constructor(connection: Connection, events: { name: string; params: unknown }[]) {
    this.connection = connection;
    this.events = events;
  }

  static async connect(io: Io, address: string, clusterId = ''): Promise<TestClient> {
    const events: { name: string; params: unknown }[] = [];
    const connection = await Connection.connect(io, address, {
      identity: { role: 'client', clusterId, name: 'test' },
      clock: systemClock,
      timeoutMs: 5000,
      handler: {
        call: async () => ({}),
        data: () => {},
        event: (_, name, params) => void events.push({ name, params }),
        closed: () => {},
      },
    });
    return new TestClient(connection, events);
  }

  call<M extends MethodName>(method: M, params: Params<M>): Promise<Result<M>> {
    return this.connection.call(method, params);
  }
}

/** Waits for something that happens by itself; the test's time limit ends it. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await systemClock.sleep(5);
}
