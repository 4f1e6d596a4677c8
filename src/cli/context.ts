import { createInterface } from 'node:readline/promises';
import { Cluster } from '../client/index.js';
import { systemClock } from '../common/clock.js';
import { type Location, resolveLocation } from '../common/config.js';
import { RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { MiB } from '../common/units.js';
import { createIo, type Io } from '../io/index.js';
import { openLog } from './logging.js';
import { Output, type OutputFormat } from './output.js';
import { Progress } from './progress.js';
import { processName } from './version.js';

/** Options that every verb takes. */
export interface Globals {
  output: OutputFormat;
  config?: string;
  location?: string;
  quiet: boolean;
  verbose: boolean;
  progress: boolean;
  timeout: number;
}

const POOL_BYTES = 64 * MiB;

/** What a verb works with; closes what it opened. */
export class Context {
  readonly program: string;
  readonly globals: Globals;
  readonly output: Output;
  readonly clock = systemClock;
  private openLog: Logger | null = null;
  private openIo: Io | null = null;
  private openCluster: Cluster | null = null;

  constructor(program: string, globals: Globals) {
    this.program = program;
    this.globals = globals;
    this.output = new Output(process.stdout, globals.output);
  }

  /** Of a command: quiet unless something is wrong. Servers open their own. */
  get log(): Logger {
    const { verbose, quiet } = this.globals;
    this.openLog ??= openLog(this.program, verbose ? 'debug' : quiet ? 'silent' : 'error');
    return this.openLog;
  }

  /** @throws RawstorError as `resolveLocation` does */
  location(): Location {
    const { location, config } = this.globals;
    return resolveLocation(location, process.env, process.cwd(), config);
  }

  io(): Io {
    this.openIo ??= createIo({ poolBytes: POOL_BYTES });
    return this.openIo;
  }

  /** @throws RawstorError UNAVAILABLE when neither MGS nor MDS answers */
  async cluster(): Promise<Cluster> {
    if (this.openCluster !== null) return this.openCluster;
    const place = this.location();
    const location = place.kind === 'config' ? place.path : place.addresses.join(',');
    try {
      this.openCluster = await Cluster.connect({
        location,
        io: this.io(),
        clock: this.clock,
        log: this.log,
        name: processName(this.program),
      });
    } catch (error) {
      throw explainAbsence(error, place);
    }
    return this.openCluster;
  }

  /** Prose, on stderr. */
  note(text: string): void {
    if (!this.globals.quiet) process.stderr.write(`${text}\n`);
  }

  warn(text: string): void {
    this.note(`${this.program}: warning: ${text}`);
  }

  progress(label: string, totalBytes: number): Progress {
    return new Progress(process.stderr, this.globals.progress && !this.globals.quiet, label, totalBytes);
  }

  /**
   * Asks on a terminal before something is destroyed; elsewhere, or with `force`, goes on.
   * @throws RawstorError DENIED when the answer is no
   */
  async confirm(question: string, force: boolean): Promise<void> {
    if (force || !process.stdin.isTTY || !process.stderr.isTTY) return;
    const asker = createInterface({ input: process.stdin, output: process.stderr });
    const answer = await asker.question(`${question} [y/N] `).finally(() => asker.close());
    if (!/^y(es)?$/i.test(answer.trim())) throw new RawstorError('DENIED', 'nothing was done');
  }

  async close(): Promise<void> {
    await this.openCluster?.close();
    await this.openIo?.close();
    this.openCluster = null;
    this.openIo = null;
  }
}

/** A cluster that does not answer is the commonest failure of all: say what to start. */
function explainAbsence(error: unknown, place: Location): unknown {
  if (!(error instanceof RawstorError) || error.hint !== undefined) return error;
  if (!['UNAVAILABLE', 'TIMEOUT', 'CONNECTION_LOST', 'NOT_FOUND'].includes(error.code)) return error;
  const hint =
    place.kind === 'config'
      ? `start the cluster of ${place.path}: \`rawstor up\`, or \`rawstor serve mds\` on that address`
      : 'start the server there: `rawstor up`, or `rawstor serve mds --listen` with that address';
  return new RawstorError('UNAVAILABLE', error.message, { where: error.where, hint, cause: error });
}
