import { chmodSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { asRawstorError, ERROR_CODES, type ErrorCode, RawstorError } from '../../common/errors.js';
import { removeStaleSocket } from '../../io/index.js';

/**
 * A gateway's own small control channel: one JSON object a line over a Unix socket, one answer a line.
 *
 *     {"method": "status"}                                    -> {"result": {...}}
 *     {"method": "trace", "forMs": 5000}                      -> {"result": {"stages": [...]}}
 *     {"method": "detach", "export": "vm1", "force": false}   -> {"result": {}} or {"error": {...}}
 */
export interface ControlRequest {
  readonly method: string;
  readonly export?: string;
  readonly force?: boolean;
  /** Of `trace`: how long from now operations are followed. */
  readonly forMs?: number;
}

export type ControlHandler = (request: ControlRequest) => Promise<object>;

const REQUEST_BYTES = 64 * 1024;
/** Counters of a thousand exports. */
const ANSWER_BYTES = 4 * 1024 * 1024;
const CONNECTIONS = 64;
const PATIENCE_MS = 10_000;

export class ControlServer {
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.server = server;
  }

  /** @throws RawstorError BUSY when another process answers there, EXISTS when a file that is no socket is in the way */
  static async listen(
    path: string,
    handler: ControlHandler,
    patienceMs = PATIENCE_MS,
  ): Promise<ControlServer> {
    if (await answers(path)) {
      throw new RawstorError('BUSY', 'another gateway listens on this control socket', {
        where: path,
        hint: 'stop it first, or give another path with --control',
      });
    }
    removeStaleSocket(path, path);
    // A client that has sent its line may end its side; the answer still goes to it.
    const server = createServer({ allowHalfOpen: true });
    const control = new ControlServer(server);
    server.maxConnections = CONNECTIONS;
    server.on('connection', (socket) => control.serve(socket, handler, patienceMs));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(asRawstorError(error, path)));
      server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
    return control;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    // Its socket file goes with it.
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private serve(socket: Socket, handler: ControlHandler, patienceMs: number): void {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    // Of the few connections there may be none is kept by who says nothing, or reads nothing.
    socket.setTimeout(patienceMs, () => socket.destroy());
    readLine(socket, REQUEST_BYTES).then(
      async (line) => {
        socket.setTimeout(0);
        const answer = await answerTo(line, handler);
        socket.setTimeout(patienceMs);
        socket.end(`${JSON.stringify(answer)}\n`, () => socket.destroy());
      },
      () => socket.destroy(),
    );
  }
}

/** @throws RawstorError of the gateway, or UNAVAILABLE when none is there, TIMEOUT */
export async function callControl(
  path: string,
  request: ControlRequest,
  timeoutMs: number,
): Promise<Record<string, unknown>> {
  const socket = createConnection(path);
  socket.setTimeout(timeoutMs, () =>
    socket.destroy(
      new RawstorError('TIMEOUT', `the gateway did not answer within ${timeoutMs} ms`, { where: path }),
    ),
  );
  socket.write(`${JSON.stringify(request)}\n`);
  let line: string;
  try {
    line = await readLine(socket, ANSWER_BYTES);
  } catch (error) {
    if (error instanceof RawstorError) throw error;
    throw new RawstorError('UNAVAILABLE', 'the gateway does not answer', {
      where: path,
      hint: 'start it: `rawstor up`, or `rawstor serve nbd`',
      cause: error,
    });
  } finally {
    socket.destroy();
  }
  const answer = JSON.parse(line) as { result?: Record<string, unknown>; error?: Record<string, string> };
  if (answer.error === undefined) return answer.result ?? {};
  const { code = '', message = 'the gateway refused', where, hint } = answer.error;
  throw new RawstorError(code in ERROR_CODES ? (code as ErrorCode) : 'INTERNAL', message, { where, hint });
}

async function answerTo(line: string, handler: ControlHandler): Promise<object> {
  try {
    const request = JSON.parse(line) as ControlRequest;
    if (typeof request?.method !== 'string') throw new RawstorError('PROTOCOL', 'the request has no method');
    return { result: await handler(request) };
  } catch (error) {
    const failure =
      error instanceof SyntaxError ? new RawstorError('PROTOCOL', error.message) : asRawstorError(error);
    const { code, message, where, hint } = failure;
    return { error: { code, message, where, hint } };
  }
}

/** The first line, and nothing after it; rejects when the socket ends before, or the line is too long. */
function readLine(socket: Socket, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    socket.setEncoding('utf8');
    const onData = (piece: string) => {
      text += piece;
      const end = text.indexOf('\n');
      if (end >= 0) {
        // What else is sent stays with the sender.
        socket.off('data', onData);
        socket.pause();
        resolve(text.slice(0, end));
      } else if (text.length > maxBytes) socket.destroy(new RawstorError('LIMIT', 'the line is too long'));
    };
    socket.on('data', onData);
    socket.on('end', () => reject(new Error('ended before a whole line came')));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed before a whole line came')));
  });
}

/** Whether anyone accepts connections there. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.on('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', () => resolve(false));
  });
}
