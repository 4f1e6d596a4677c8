import { Command } from './constants.js';

export class OpStats {
  requests = 0;
  /** Payload or range; of failed requests too. */
  bytes = 0;
  errors = 0;
}

/** Counters of one export since the server began, all connections together; only ever rising but for the gauges. */
export class ExportStats {
  readonly read = new OpStats();
  readonly write = new OpStats();
  readonly flush = new OpStats();
  readonly trim = new OpStats();
  readonly cache = new OpStats();
  readonly writeZeroes = new OpStats();
  readonly blockStatus = new OpStats();
  /** Commands this server does not know. */
  readonly unknown = new OpStats();
  /** Gauge: connections in the transmission phase. */
  connections = 0;
  /** Gauge: requests received and not yet answered in full. */
  inFlight = 0;
  connectionsTotal = 0;

  of(command: number): OpStats {
    switch (command) {
      case Command.READ:
        return this.read;
      case Command.WRITE:
        return this.write;
      case Command.FLUSH:
        return this.flush;
      case Command.TRIM:
        return this.trim;
      case Command.CACHE:
        return this.cache;
      case Command.WRITE_ZEROES:
        return this.writeZeroes;
      case Command.BLOCK_STATUS:
        return this.blockStatus;
      default:
        return this.unknown;
    }
  }
}
