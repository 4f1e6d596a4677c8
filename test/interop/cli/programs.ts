import { randomInt } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type ResultPromise } from 'execa';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Compiled programs start faster; they are used when no source is newer. */
function compiledIsFresh(): boolean {
  const stamp = join(ROOT, 'dist/.built');
  if (!existsSync(stamp)) return false;
  const builtMs = statSync(stamp).mtimeMs;
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true });
  return sources.every(
    (entry) => !entry.isFile() || statSync(join(entry.parentPath, entry.name)).mtimeMs < builtMs,
  );
}

const COMPILED = compiledIsFresh();

/** Arguments of node that run a program such as `cli/rawstor`. */
export function programArgs(program: string): string[] {
  if (COMPILED) return [join(ROOT, 'dist', `${program}.js`)];
  return ['--import', import.meta.resolve('tsx'), join(ROOT, 'src', `${program}.ts`)];
}

export interface Place {
  readonly cwd: string;
  readonly env?: Record<string, string>;
  readonly input?: string;
  /** A command that runs the program: `nsenter ...`. */
  readonly by?: readonly string[];
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. */
export async function run(program: string, args: readonly string[], place: Place): Promise<Outcome> {
  const [file, ...rest] = commandLine(program, args, place);
  const result = await execa(file!, rest, {
    reject: false,
    ...cleanEnvironment(place),
    cwd: place.cwd,
    stripFinalNewline: false,
    ...(place.input === undefined ? { stdin: 'ignore' as const } : { input: place.input }),
  });
  return { code: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
}

/** Starts a program that goes on. */
export function begin(program: string, args: readonly string[], place: Place) {
  const [file, ...rest] = commandLine(program, args, place);
  return execa(file!, rest, {
    reject: false,
    ...cleanEnvironment(place),
    cwd: place.cwd,
    stdin: 'ignore',
  });
}

function commandLine(program: string, args: readonly string[], { by = [] }: Place): string[] {
  return [...by, process.execPath, ...programArgs(program), ...args];
}

function cleanEnvironment(place: Place) {
  const { RAWSTOR_LOCATION: _, ...env } = process.env;
  // Nothing of the machine's own configuration.
  return { env: { ...env, HOME: place.cwd, XDG_CONFIG_HOME: '', ...place.env }, extendEnv: false };
}

export function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'rawstor-cli-'));
}

/** An address of this machine that no other test listens on, whatever port it takes. */
export function ownLoopback(): string {
  return `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(2, 255)}`;
}

export interface UpFacts {
  dir: string;
  location: string;
  mds: string;
  mgs: string;
  statusUrl: string;
  nbd: string[];
  osts: string[];
  volumes: string[];
  pids: Record<string, number>;
}

/** A cluster of `rawstor up` in a directory of its own. */
export class UpCluster {
  readonly cwd: string;
  readonly facts: UpFacts;
  readonly process: ResultPromise;

  /** Its stderr so far. */
  readonly said: () => string;

  private constructor(cwd: string, facts: UpFacts, process: ResultPromise, said: () => string) {
    this.cwd = cwd;
    this.facts = facts;
    this.process = process;
    this.said = said;
  }

  /** Fails with what it said when it does not come up. */
  static async start(args: readonly string[] = [], cwd = temporaryDirectory()): Promise<UpCluster> {
    // A location in the environment is for commands; the servers of `up` know theirs.
    const env = { RAWSTOR_LOCATION: '127.0.0.1:1' };
    const all = ['up', '--output', 'json', '--listen', ownLoopback(), ...args];
    const child = begin('cli/rawstor', all, { cwd, env });
    let said = '';
    let prose = '';
    child.stderr!.on('data', (bytes: Buffer) => {
      prose += bytes.toString();
    });
    const facts = new Promise<UpFacts>((resolve) => {
      child.stdout!.on('data', (bytes: Buffer) => {
        said += bytes.toString();
        if (said.endsWith('}\n')) resolve(JSON.parse(said) as UpFacts);
      });
    });
    const ended = child.then((result) => {
      throw new Error(`up ended with ${result.exitCode}: ${result.stderr}`);
    });
    ended.catch(() => {});
    return new UpCluster(cwd, await Promise.race([facts, ended]), child as ResultPromise, () => prose);
  }

  /** Of the OST of that number as it runs now; `facts` has the first one's. Waits until there is one. */
  async ostPid(number: number): Promise<number> {
    const { pid } = this.process;
    const dir = join(this.facts.dir, `ost-${number}`);
    let found: string | undefined;
    await until(() => {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
      found = children.find((child) => argumentsOf(child).includes(dir));
      return found !== undefined;
    });
    return Number(found);
  }

  volume(...args: string[]): Promise<Outcome> {
    return run('cli/rawstor-volume', args, { cwd: this.cwd });
  }

  rawstor(...args: string[]): Promise<Outcome> {
    return run('cli/rawstor', args, { cwd: this.cwd });
  }

  /** A script for bash in which `$VOLUME` is `rawstor-volume`. */
  async shell(script: string): Promise<Outcome> {
    const place = { cwd: this.cwd, env: { VOLUME: commandLine('cli/rawstor-volume', [], this).join(' ') } };
    const options = { reject: false, ...cleanEnvironment(place), cwd: this.cwd, stdin: 'ignore' } as const;
    const { exitCode, stdout, stderr } = await execa('bash', ['-c', script], options);
    return { code: exitCode ?? -1, stdout, stderr };
  }

  get uriOf(): (volume: string) => string {
    return (volume) => `nbd+unix:///${volume}?socket=${this.facts.dir}/nbd.sock`;
  }

  /** Ends it as Ctrl-C does. @returns its exit code */
  async stop(): Promise<number | undefined> {
    this.process.kill('SIGINT');
    return (await this.process).exitCode;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.cwd, { recursive: true, force: true });
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits for something that is sure to come; the test's own time limit ends it otherwise. */
function argumentsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    // It has ended meanwhile.
    return [];
  }
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 50));
}
