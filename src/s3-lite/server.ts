import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { asRawstorError } from '../common/errors.js';
import { authenticate, authorize } from './auth.js';
import type { S3Services } from './context.js';
import { addCors, answerPreflight } from './cors.js';
import { asS3Error, noSuchBucket, S3Error } from './errors.js';
import { IncomingBody } from './incoming.js';
import { S3_LIMITS, type S3ServerLimits } from './limits.js';
import { S3Metrics } from './metrics.js';
import { checkBucketName, checkKey } from './names.js';
import { bucketOfHost, S3Request } from './request.js';
import { routeOf } from './router.js';
import { XML_DECLARATION, xmlFailure } from './xml.js';

export interface S3Listen {
  readonly host: string;
  readonly port: number;
}

/** How long a stop waits for requests under way. */
const STOP_MS = 10_000;

/** The HTTP side of S3: limits, authentication, dispatch, errors as XML. */
export class S3Server {
  readonly metrics = new S3Metrics();
  private readonly services: S3Services;
  private readonly domain: string;
  private readonly limits: S3ServerLimits;
  private readonly http: Server;
  private readonly sockets = new Set<Socket>();
  /** The request that a connection brought last, until it is answered. */
  private readonly current = new Map<Socket, { http: IncomingMessage; response: ServerResponse }>();
  private underWay = 0;
  /** Of those under way, by access key id. */
  private readonly callers = new Map<string, number>();
  private stopping = false;

  /** @param domain hosts below it name buckets; '' for none */
  constructor(services: S3Services, domain: string, limits: S3ServerLimits = S3_LIMITS) {
    this.services = services;
    this.domain = domain.toLowerCase();
    this.limits = limits;
    this.http = createServer({ maxHeaderSize: limits.headerBytes, keepAlive: true }, (request, response) => {
      void this.answer(request, response);
    });
    this.http.maxConnections = limits.connections;
    this.http.headersTimeout = 30_000;
    // Long uploads are fine as long as something comes.
    this.http.requestTimeout = 0;
    // Nothing moves either while a request that is all here is carried out: that may take longer.
    this.http.setTimeout(limits.idleMs, (socket) => {
      const current = this.current.get(socket);
      const working = current?.http.complete === true && !current.response.headersSent;
      if (!working) socket.destroy();
    });
    this.http.on('checkContinue', (request, response) => {
      void this.answer(request, response);
    });
    this.http.on('connection', (socket: Socket) => {
      this.sockets.add(socket);
      socket.once('close', () => {
        this.sockets.delete(socket);
        this.current.delete(socket);
        this.metrics.countBytes(socket);
      });
    });
  }

  /** @returns the port. @throws RawstorError */
  listen({ host, port }: S3Listen): Promise<number> {
    return new Promise((resolve, reject) => {
      this.http.once('error', (error) => reject(asRawstorError(error, `http://${host}:${port}`)));
      this.http.listen({ host, port }, () => resolve((this.http.address() as AddressInfo).port));
    });
  }

  /** Takes no more; waits for what is under way, then drops it. */
  async close(): Promise<void> {
    this.stopping = true;
    const closed = new Promise<void>((resolve) => this.http.close(() => resolve()));
    this.http.closeIdleConnections();
    const timer = setTimeout(() => {
      for (const socket of this.sockets) socket.destroy();
    }, STOP_MS);
    await closed;
    clearTimeout(timer);
  }

  private async answer(http: IncomingMessage, response: ServerResponse): Promise<void> {
    if (http.method === 'GET' && http.url === '/metrics' && bucketOfHost(http, this.domain) === null) {
      return this.answerMetrics(response);
    }
    this.current.set(http.socket, { http, response });
    const id = randomBytes(8).toString('hex').toUpperCase();
    response.setHeader('x-amz-request-id', id);
    response.setHeader('server', 'rawstor');
    if (this.stopping) response.setHeader('connection', 'close');
    const startedMs = this.services.clock.nowMs();
    let operation = 'unknown';
    this.metrics.underWay.set(++this.underWay);
    try {
      if (this.underWay > this.limits.underWay) throw new S3Error('SlowDown', 'Reduce your request rate.');
      const body = new IncomingBody(http, this.services.clock, this.limits.body);
      const request = new S3Request(http, body, id, this.domain);
      await this.run(request, response, (name) => {
        operation = name;
      });
    } catch (error) {
      this.fail(http, response, id, error, operation);
    } finally {
      this.metrics.underWay.set(--this.underWay);
      this.metrics.requests.inc({ operation, status: response.statusCode });
      this.metrics.seconds.observe({ operation }, (this.services.clock.nowMs() - startedMs) / 1000);
    }
  }

  private async run(
    request: S3Request,
    response: ServerResponse,
    named: (name: string) => void,
  ): Promise<void> {
    const { services } = this;
    if (request.method === 'OPTIONS') {
      named('Preflight');
      const { value } = await services.buckets.get(request.bucket);
      return answerPreflight(request, response, value.cors);
    }
    if (request.bucket !== '' && request.header('origin') !== undefined) {
      const bucket = await services.buckets.get(request.bucket).catch(() => null);
      addCors(request, response, bucket?.value.cors ?? null);
    }
    const caller = await authenticate(request, services.keys, services.clock.wallMs());
    const route = routeOf(request);
    named(route.name);
    if (request.key !== '') checkKey(request.key);
    if (request.bucket !== '') authorize(caller, request.bucket, route.right);
    // A host may name what is in no path: a slash in it would lead to rows of another bucket.
    if (request.bucket !== '' && !/^[a-z0-9.-]{1,255}$/.test(request.bucket)) {
      if (route.name === 'CreateBucket') checkBucketName(request.bucket);
      throw noSuchBucket(request.bucket);
    }
    if (request.bucket !== '' && route.name !== 'CreateBucket') {
      await services.buckets.checkOwner(request.bucket, request.header('x-amz-expected-bucket-owner'));
    }
    const leave = this.enter(caller.access.keyId);
    try {
      // The body is not asked for before it is known that it is wanted.
      if (request.header('expect')?.toLowerCase() === '100-continue') response.writeContinue();
      await route.run({
        services,
        request,
        caller,
        response,
        answerPace: this.limits.answer,
        blankMs: this.limits.blankMs,
      });
    } finally {
      leave();
    }
  }

  /** Whoever has one key, or an address signed by it, leaves a quarter of the room to others. @throws S3Error SlowDown */
  private enter(keyId: string): () => void {
    const count = this.callers.get(keyId) ?? 0;
    if (count >= Math.max(1, Math.floor(this.limits.underWay * 0.75))) {
      throw new S3Error('SlowDown', 'Reduce your request rate.');
    }
    this.callers.set(keyId, count + 1);
    return () => {
      const left = this.callers.get(keyId)! - 1;
      if (left > 0) this.callers.set(keyId, left);
      else this.callers.delete(keyId);
    };
  }

  private fail(
    http: IncomingMessage,
    response: ServerResponse,
    id: string,
    error: unknown,
    operation: string,
  ): void {
    if (http.destroyed && !http.complete) return void response.destroy();
    // Whoever asked has gone while it was sent.
    if ((error as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE')
      return void response.destroy();
    const failure = asS3Error(error);
    if (failure.status >= 500) {
      this.services.log.warn({ err: error, operation, requestId: id }, 'a request failed');
    }
    // Its length was told: only a broken connection says that it is not whole.
    if (response.headersSent) return void response.destroy();
    const body = Buffer.from(XML_DECLARATION + xmlFailure(failure, (http.url ?? '').split('?')[0]!, id));
    // What is left of the body is not waited for.
    if (!http.complete) response.setHeader('connection', 'close');
    if (failure.code === 'SlowDown' || failure.code === 'ServiceUnavailable')
      response.setHeader('retry-after', '1');
    response.writeHead(failure.status, { 'content-type': 'application/xml', 'content-length': body.length });
    response.end(http.method === 'HEAD' ? undefined : body);
    if (!http.complete) this.letGo(http, response);
  }

  /** A client that still sends reads the answer first, for a moment. */
  private letGo(http: IncomingMessage, response: ServerResponse): void {
    let left = 1024 * 1024;
    http.on('data', (bytes: Buffer) => {
      left -= bytes.length;
      if (left < 0) http.destroy();
    });
    http.on('error', () => {});
    response.once('finish', () => setTimeout(() => http.destroy(), 1000).unref());
  }

  private async answerMetrics(response: ServerResponse): Promise<void> {
    for (const socket of this.sockets) this.metrics.countBytes(socket);
    response.writeHead(200, { 'content-type': this.metrics.registry.contentType });
    response.end(await this.metrics.registry.metrics());
  }
}
