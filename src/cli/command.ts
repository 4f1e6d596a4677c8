import type { Context } from './context.js';

/** An option of a verb, as data: help, completion and manual pages are made from the same tree. */
export interface OptionSpec {
  /** As commander reads them: `-f, --force`, `--size SIZE` is written `--size <size>`. */
  readonly flags: string;
  readonly help: string;
  /** Value when the option is not given. */
  readonly default?: unknown;
  /** How the default is shown, when it is not plain. */
  readonly defaultText?: string;
  /** @throws RawstorError USAGE */
  readonly parse?: (text: string, before: unknown) => unknown;
  readonly choices?: readonly string[];
  readonly required?: boolean;
  /** Options that say something else, by their long names without the dashes. */
  readonly conflicts?: readonly string[];
}

export interface ArgumentSpec {
  readonly name: string;
  readonly help: string;
  readonly optional?: boolean;
  readonly variadic?: boolean;
}

export interface Example {
  readonly command: string;
  readonly what: string;
}

/** A verb, or a group of verbs when it has some of its own. */
export interface VerbSpec {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** More than the summary, in the verb's own help. */
  readonly description?: string;
  readonly arguments?: readonly ArgumentSpec[];
  readonly options?: readonly OptionSpec[];
  readonly examples: readonly Example[];
  readonly verbs?: readonly VerbSpec[];
  /** @returns an exit code, 0 when nothing is returned */
  readonly run?: (context: Context, args: string[], options: never) => Promise<number | undefined>;
}

export interface ProgramSpec {
  readonly name: string;
  readonly summary: string;
  readonly verbs: readonly VerbSpec[];
  readonly examples: readonly Example[];
  /** A program that is one verb, such as rawstor-ost. */
  readonly only?: VerbSpec;
}

/** Keeps the type of a verb's options inside its own file. */
export function defineVerb<Options extends object>(
  spec: Omit<VerbSpec, 'run'> & {
    run(context: Context, args: string[], options: Options): Promise<number | undefined>;
  },
): VerbSpec {
  return spec;
}
