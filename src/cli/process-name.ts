import { hostname } from 'node:os';

/** Who a connection comes from, for logs and `status`. */
export function processName(program: string): string {
  return `${program}@${hostname()}:${process.pid}`;
}
