import { hostname } from 'node:os';
import { createInterface } from 'node:readline/promises';
import { Cluster, type ClusterOptions, KeyRing, type Patience } from '../client/index.js';
import { systemClock } from '../common/clock.js';
import { type Location, resolveLocation } from '../common/config.js';
import { RawstorError } from '../common/errors.js';
import type { Logger } from '../common/log.js';
import { MiB } from '../common/units.js';
import { createIo, type Io } from '../io/index.js';
import { Interrupted } from './interrupt.js';
import { openCommandLog } from './logging.js';
import { Output, type OutputFormat } from './output.js';
import { Progress } from './progress.js';

/** Options that every verb takes. */
export interface Globals {
  output: OutputFormat;
  config?: string;
  location?: string;
  quiet: boolean;
  verbose: boolean;
  progress: boolean;
  timeout: number;
  /** Whether somebody said so: then a server that is away is waited for as well. */
  timeoutGiven: boolean;
  /** Options of the verb that the command line says: others have their defaults. */
  given: ReadonlySet<string>;
}

const POOL_BYTES = 64 * MiB;

/** What a verb works with; closes what it opened. */
export class Context {
  readonly program: string;
  readonly globals: Globals;
  readonly output: Output;
  readonly clock = systemClock;
  /** What opens encrypted volumes, by --key-file and --passphrase-file. */
  keys = new KeyRing([]);
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
    this.openLog ??= openCommandLog(this.program, verbose ? 'debug' : quiet ? 'silent' : 'error');
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

  /** The first call says how. @throws RawstorError UNAVAILABLE when neither MGS nor MDS answers */
  async cluster(options: Partial<ClusterOptions> = {}): Promise<Cluster> {
    this.openCluster ??= await Cluster.connect({
      location: this.globals.location,
      configFile: this.globals.config,
      io: this.io(),
      clock: this.clock,
      log: this.log,
      name: this.program,
      host: hostname(),
      patience: this.patience(),
      keys: this.keys,
      ...options,
    });
    return this.openCluster;
  }

  /** As long as --timeout says; undefined where nobody said it: a person wants to know at once that nothing is there. */
  patience(): Patience | undefined {
    const { timeout, timeoutGiven } = this.globals;
    if (!timeoutGiven) return undefined;
    const onWaiting = ({ message, where = '' }: RawstorError) =>
      this.warn(`${message}${where === '' ? '' : ` (${where})`}: waiting for up to ${timeout / 1000} s`);
    return { untilMs: this.clock.nowMs() + timeout, onWaiting };
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
   * Asks on a terminal before something is lost that the command line names: `rm`, `--shrink`, `--no-safety`. Elsewhere, or with
   * `yes`, goes on: a script has said it already.
   * @throws RawstorError DENIED when the answer is no
   */
  async confirm(question: string, yes: boolean): Promise<void> {
    if (yes || !canAsk()) return;
    const answer = await ask(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new RawstorError('DENIED', 'nothing was done');
  }

  /**
   * As `confirm`, for data that the command line does not name, as that of a volume which an import finds under its name: where nobody
   * can be asked it takes `yes`.
   * @throws RawstorError DENIED, USAGE
   */
  async confirmOverwrite(question: string, yes: boolean): Promise<void> {
    if (!yes && !canAsk()) {
      throw new RawstorError('USAGE', `${question} There is no terminal to ask on`, {
        hint: 'say yes with --yes (or --force)',
      });
    }
    await this.confirm(question, yes);
  }

  async close(): Promise<void> {
    await this.openCluster?.close();
    await this.openIo?.close();
    this.openCluster = null;
    this.openIo = null;
  }
}

/** @returns an empty answer at the end of input, Ctrl-D. @throws Interrupted at Ctrl-C */
async function ask(question: string): Promise<string> {
  const asker = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await new Promise<string>((resolve, reject) => {
      asker.once('SIGINT', () => reject(new Interrupted('SIGINT')));
      asker.once('close', () => resolve(''));
      asker.question(question).then(resolve, () => resolve(''));
    });
  } catch (error) {
    // What is said next begins a line of its own.
    process.stderr.write('\n');
    throw error;
  } finally {
    asker.close();
  }
}

function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}
