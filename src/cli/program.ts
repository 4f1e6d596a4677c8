import { Argument, Command, CommanderError, Option } from 'commander';
import { programVersion } from '../common/build-info.js';
import { asRawstorError, RawstorError } from '../common/errors.js';
import type { Example, OptionSpec, ProgramSpec, VerbSpec } from './command.js';
import { Context, type Globals } from './context.js';
import { EXIT } from './exit-codes.js';
import { Interrupted } from './interrupt.js';
import { keyRing } from './keys.js';
import { durationMs } from './options.js';
import { OUTPUT_FORMATS } from './output.js';

/** Options of every verb of every program. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { flags: '--output <format>', help: 'how results are printed', choices: OUTPUT_FORMATS, default: 'table' },
  { flags: '-c, --config <file>', help: 'configuration file of the cluster, or its directory' },
  {
    flags: '--location <where>',
    help: 'the cluster: HOST:PORT of an MGS or MDS, unix:/PATH, a file or a directory with cluster.toml (or RAWSTOR_LOCATION)',
    conflicts: ['config'],
  },
  { flags: '-q, --quiet', help: 'no prose, no warnings', default: false },
  { flags: '-v, --verbose', help: 'log what happens, with stack traces of errors', default: false },
  { flags: '--no-progress', help: 'no progress bars' },
  {
    flags: '--timeout <time>',
    help: 'how long to wait for answers; where it is given, also for an MDS that is away',
    parse: durationMs,
    default: 30_000,
    defaultText: '30s',
  },
];

/** Runs a program with the arguments of this process, then ends the process with its exit code. */
export async function main(
  spec: ProgramSpec,
  argv: readonly string[] = process.argv.slice(2),
): Promise<void> {
  // A reader that has seen enough (`| head`, `2>&1 | head`) is no error.
  let unwritten: RawstorError | null = null;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // Not thrown: a verb under way has a volume to close.
    if (error.code !== 'EPIPE') unwritten ??= asRawstorError(error, 'stdout');
  });
  // Prose that nobody can read changes no outcome, and least of all ends a server.
  process.stderr.on('error', () => {});
  const outputs: NodeJS.WriteStream[] = [process.stderr];
  let interrupted = false;
  let exitCode = await runProgram(spec, argv, () => {
    interrupted = true;
  });
  // Whoever reads a disk from a pipe may have stopped for good.
  if (!interrupted) outputs.push(process.stdout);
  await Promise.all(outputs.map(drained));
  const failure = unwritten as RawstorError | null;
  if (failure !== null) {
    process.stderr.write(`${spec.name}: ${failure.toUserText()}\n`);
    if (exitCode === 0) exitCode = failure.exitCode;
  }
  process.exit(exitCode);
}

/** What was written to a pipe whose reader is slow lies in this process until then. */
function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()));
}

/** @returns the exit code; all messages are printed */
export async function runProgram(
  spec: ProgramSpec,
  argv: readonly string[],
  onInterrupted = () => {},
): Promise<number> {
  let exitCode = 0;
  const program = buildProgram(spec, async (verb, globals, args, options) => {
    const context = new Context(spec.name, globals);
    context.keys = keyRing(options);
    try {
      exitCode = (await verb.run?.(context, args, options as never)) ?? 0;
    } finally {
      await context.close();
    }
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.USAGE;
    if (error instanceof Interrupted) {
      onInterrupted();
      process.stderr.write(`${spec.name}: ${error.message}\n`);
      return error.exitCode;
    }
    const failure = asRawstorError(error);
    process.stderr.write(`${spec.name}: ${failure.toUserText()}\n`);
    const trace = argv.includes('-v') || argv.includes('--verbose') || failure.code === 'INTERNAL';
    if (trace) process.stderr.write(`${stackOf(error)}\n`);
    return failure.exitCode;
  }
}

type Runner = (verb: VerbSpec, globals: Globals, args: string[], options: object) => Promise<void>;

/** The tree as commander has it. */
export function buildProgram(spec: ProgramSpec, run: Runner): Command {
  const program = new Command(spec.name);
  program
    .description(spec.summary)
    .version(`${spec.name} ${programVersion()}`, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, `${spec.name}: `)),
    })
    .showHelpAfterError(`  see '${spec.name} --help'`);
  for (const option of GLOBAL_OPTIONS) program.addOption(toOption(option));
  if (spec.only === undefined) {
    program.helpCommand('help [verb]', 'print the help of a verb');
    addExamples(program, spec.examples);
    for (const verb of spec.verbs) addVerb(program, program, verb, run);
  } else fillVerb(program, program, spec.only, run);
  return program;
}

function addVerb(program: Command, parent: Command, verb: VerbSpec, run: Runner): void {
  fillVerb(program, parent.command(verb.name), verb, run);
}

function fillVerb(program: Command, command: Command, verb: VerbSpec, run: Runner): void {
  if (command !== program) {
    command.summary(verb.summary);
    command.showHelpAfterError(`  see '${nameOf(command)} --help'`);
  }
  command.description(
    verb.description === undefined ? verb.summary : `${verb.summary}\n\n${verb.description}`,
  );
  for (const alias of verb.aliases ?? []) command.alias(alias);
  for (const { name, help, optional, variadic } of verb.arguments ?? []) {
    const text = variadic === true ? `${name}...` : name;
    command.addArgument(new Argument(optional === true ? `[${text}]` : `<${text}>`, help));
  }
  for (const option of verb.options ?? []) command.addOption(toOption(option));
  addExamples(command, verb.examples);
  for (const child of verb.verbs ?? []) addVerb(program, command, child, run);
  if (verb.run === undefined) return;
  command.allowExcessArguments(false);
  command.action(async () => {
    checkArguments(verb, command.args);
    const timeoutGiven = program.getOptionValueSource('timeout') === 'cli';
    const options = command.opts();
    const given = new Set(
      Object.keys(options).filter((name) => command.getOptionValueSource(name) === 'cli'),
    );
    await run(verb, { ...program.opts<Globals>(), timeoutGiven, given }, command.args, options);
  });
}

/** An empty one is a slip of a script: `rm "$NAME"`. @throws RawstorError USAGE */
function checkArguments({ arguments: specs = [] }: VerbSpec, args: readonly string[]): void {
  for (const [at, text] of args.entries()) {
    if (text.trim() !== '') continue;
    const { name, help } = specs[Math.min(at, specs.length - 1)]!;
    throw new RawstorError('USAGE', `the argument '${name}' is empty`, { hint: help });
  }
}

/** `rawstor serve ost` */
function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

function toOption(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.help);
  if (spec.default !== undefined) option.default(spec.default, spec.defaultText);
  if (spec.choices !== undefined) option.choices([...spec.choices]);
  if (spec.required === true) option.makeOptionMandatory();
  if (spec.conflicts !== undefined) option.conflicts([...spec.conflicts]);
  const { parse } = spec;
  if (parse !== undefined) {
    option.argParser((text, before) => {
      try {
        return parse(text, before);
      } catch (error) {
        const cause = asRawstorError(error);
        throw new RawstorError('USAGE', cause.message, {
          where: option.long ?? spec.flags,
          hint: cause.hint,
        });
      }
    });
  }
  return option;
}

function addExamples(command: Command, examples: readonly Example[]): void {
  if (examples.length === 0) return;
  const lines = examples.flatMap(({ command: line, what }) => [`  # ${what}`, `  ${line}`]);
  command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`);
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
