import type { Socket } from 'node:net';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Figures of one server, for `/metrics`. */
export class S3Metrics {
  readonly registry = new Registry();
  readonly requests = new Counter({
    name: 'rawstor_s3_requests_total',
    help: 'Requests by operation and status.',
    labelNames: ['operation', 'status'],
    registers: [this.registry],
  });
  readonly seconds = new Histogram({
    name: 'rawstor_s3_request_seconds',
    help: 'Time from the headers of a request to the end of its answer.',
    labelNames: ['operation'],
    buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    registers: [this.registry],
  });
  readonly received = new Counter({
    name: 'rawstor_s3_received_bytes_total',
    help: 'Bytes received from clients.',
    registers: [this.registry],
  });
  readonly sent = new Counter({
    name: 'rawstor_s3_sent_bytes_total',
    help: 'Bytes sent to clients.',
    registers: [this.registry],
  });
  readonly underWay = new Gauge({
    name: 'rawstor_s3_requests_under_way',
    help: 'Requests that are being answered.',
    registers: [this.registry],
  });
  /** What of a connection is counted already. */
  private readonly counted = new WeakMap<Socket, { received: number; sent: number }>();

  /** What a connection has moved since the last time: one may last for hours. */
  countBytes(socket: Socket): void {
    const before = this.counted.get(socket) ?? { received: 0, sent: 0 };
    const now = { received: socket.bytesRead, sent: socket.bytesWritten };
    this.counted.set(socket, now);
    this.received.inc(Math.max(0, now.received - before.received));
    this.sent.inc(Math.max(0, now.sent - before.sent));
  }
}
