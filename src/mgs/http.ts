import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry as Metrics } from 'prom-client';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { openAsUsual } from '../common/private-files.js';
import { type Address, formatTcp, parseAddress, removeStaleSocket } from '../io/index.js';
import { type ClusterView, PAGE_POLICY, renderPage } from './page.js';

const CONNECTIONS = 64;
/** How long a client may take nothing of a page. */
const STILL_MS = 20_000;

export interface StatusHttpOptions {
  readonly view: () => ClusterView;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Default 20 s. */
  readonly stillMs?: number;
}

interface Answer {
  readonly type: string;
  readonly body: string;
}

/** The read-only web side of an MGS: `/` for people, `/status.json`, `/metrics`, `/healthz`. */
export class StatusHttp {
  readonly address: Address;
  private readonly server: Server;

  private constructor(server: Server, address: Address) {
    this.server = server;
    this.address = address;
  }

  /** @throws RawstorError USAGE, BUSY, DENIED, ... naming the address */
  static async listen(address: Address, options: StatusHttpOptions): Promise<StatusHttp> {
    const parsed = parseAddress(address);
    const server = createServer({ requestTimeout: 10_000, headersTimeout: 5000 }, (request, response) => {
      serve(request, response, options).catch((error) => {
        options.log.error({ err: error, url: request.url }, 'a page failed');
        response.destroy();
      });
    });
    server.maxConnections = CONNECTIONS;
    server.setTimeout(options.stillMs ?? STILL_MS);
    const where = parsed.kind === 'tcp' ? { host: parsed.host, port: parsed.port } : { path: parsed.path };
    const begin = () =>
      new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(where, () => resolve());
      });
    const again = (cause: NodeJS.ErrnoException) => {
      if (parsed.kind !== 'unix' || cause.code !== 'EADDRINUSE') throw cause;
      removeStaleSocket(parsed.path, address);
      return begin();
    };
    await begin()
      .catch(again)
      .catch((cause) => {
        const error = asRawstorError(cause, address);
        const hint =
          error.code === 'BUSY' ? 'another program listens there: choose another address' : undefined;
        throw new RawstorError(error.code, 'the status page cannot listen', { where: address, hint, cause });
      });
    // For a proxy of another user, which other sockets are for as well.
    if (parsed.kind === 'unix') openAsUsual(parsed.path);
    const port = parsed.kind === 'tcp' ? (server.address() as AddressInfo).port : 0;
    return new StatusHttp(server, parsed.kind === 'tcp' ? formatTcp(parsed.host, port) : address);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.server.close(() => resolve());
      this.server.closeAllConnections();
    });
  }
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  options: StatusHttpOptions,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    return finish(response, 405, { type: 'text/plain', body: 'this page is read-only\n' });
  }
  const path = (request.url ?? '/').replace(/\?.*$/s, '');
  const answer = await answerFor(path, options);
  if (answer === null) {
    return finish(response, 404, { type: 'text/plain', body: 'not here: see / /status.json /metrics\n' });
  }
  finish(response, 200, answer);
}

async function answerFor(path: string, { view, metrics }: StatusHttpOptions): Promise<Answer | null> {
  switch (path) {
    case '/':
      return { type: 'text/html', body: renderPage(view()) };
    case '/status.json':
      return { type: 'application/json', body: `${JSON.stringify(view(), null, 2)}\n` };
    case '/metrics':
      return { type: metrics.contentType, body: await metrics.metrics() };
    case '/healthz':
      return { type: 'text/plain', body: 'ok\n' };
    default:
      return null;
  }
}

function finish(response: ServerResponse, status: number, { type, body }: Answer): void {
  const bytes = Buffer.from(body);
  response.writeHead(status, {
    'Content-Type': type.includes('charset') ? type : `${type}; charset=utf-8`,
    'Content-Length': bytes.length,
    'Cache-Control': 'no-store',
    'Content-Security-Policy': PAGE_POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
  });
  response.end(bytes); // Node leaves the body of an answer to HEAD out.
}
