import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { RawstorError } from '../src/common/errors.js';
import { KIND_NAMES, KINDS, type Kind, specOf } from './kinds.js';
import type { Case } from './types.js';

export const USAGE = `usage: npm run bench -- [--quick] [--only TEXT]... [--peer NAME]... [--kind NAME]... [--out FOLDER]
                        [--subject rawstor|PEER] [--size MIB] [--rounds N] [--seconds N] [--dir FOLDER]
                        [--baseline FOLDER] [--list]

  Holds rawstor against its peers, side by side on this machine. What a peer needs of Debian's packages is installed;
  one that cannot run here is told with its reason. Everything is on loopback and Unix sockets, and ends with this.

  --only TEXT        only cases whose kind and name, as --list shows them, have TEXT in them; 'budget' is where
                     the time of one operation goes
  --kind NAME        only this kind, repeatable: ${Object.keys(KINDS).join(', ')}
  --peer NAME        only these peers; none for no peer
  --subject NAME     what the peers are held against: rawstor, or another peer
  --baseline FOLDER  another checkout of this project, compiled, as one more peer (local and replicated3)
  --out FOLDER       where the report goes, as Markdown, JSON and SVG (default bench/results)
  --dir FOLDER       on the disk to measure (default .cache/bench)
  --quick            2 s a run and 256 MiB: to see a direction
  --list             the peers and cases there are

  Without --quick: 1 GiB, 5 rounds of 8 s; replicated3 16 GiB, 3 rounds, a minute for each random case.

  npm run bench -- --quick --only q32
  npm run bench -- --kind replicated3 --peer ceph --rounds 7
`;

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Named by --only, and run without a peer. */
export const EXTRAS = ['budget'] as const;
export type Extra = (typeof EXTRAS)[number];

export interface KindWish {
  readonly kind: Kind;
  readonly cases: readonly Case[];
}

export interface BenchOptions {
  readonly mode: 'run' | 'list' | 'help';
  readonly kinds: readonly KindWish[];
  readonly extras: readonly Extra[];
  /** Undefined: all. */
  readonly peers: readonly string[] | undefined;
  readonly subject: string;
  readonly baseline: string | undefined;
  readonly out: string;
  readonly dir: string;
  readonly quick: boolean;
  readonly size: number | undefined;
  readonly rounds: number | undefined;
  readonly seconds: number | undefined;
}

/** @throws RawstorError USAGE */
export function optionsOf(args: readonly string[]): BenchOptions {
  const values = parse(args);
  const only = values.only;
  const matches = (text: string) => only === undefined || only.some((part) => text.includes(part));
  const chosen = chosenKinds(values.kind);
  const kinds = chosen
    .map((kind) => ({ kind, cases: specOf(kind).cases.filter(({ name }) => matches(`${kind}: ${name}`)) }))
    .filter(({ cases }) => cases.length > 0);
  // They are asked for by name: an ordinary run is long enough.
  const extras = EXTRAS.filter((name) => only?.includes(name));
  if (kinds.length === 0 && extras.length === 0) {
    throw usage(`no case has ${only?.map((text) => `'${text}'`).join(' or ') ?? 'such a kind'} in its name`);
  }
  const known = new Set(KIND_NAMES.flatMap((kind) => Object.keys(specOf(kind).peers)));
  const unknown = [...(values.peer ?? []), values.subject].find(
    (name) => !known.has(name) && name !== 'none' && name !== 'rawstor',
  );
  if (unknown !== undefined) throw usage(`no peer is called '${unknown}'`);
  return {
    mode: values.help ? 'help' : values.list ? 'list' : 'run',
    kinds,
    extras,
    peers: values.peer,
    subject: values.subject,
    baseline: values.baseline === undefined ? undefined : resolve(values.baseline),
    out: resolve(values.out),
    dir: resolve(values.dir),
    quick: values.quick,
    size: count('size', values.size),
    rounds: count('rounds', values.rounds),
    seconds: count('seconds', values.seconds),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true },
        kind: { type: 'string', multiple: true },
        peer: { type: 'string', multiple: true },
        baseline: { type: 'string' },
        subject: { type: 'string', default: 'rawstor' },
        size: { type: 'string' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        out: { type: 'string', default: join(ROOT, 'bench/results') },
        dir: { type: 'string', default: join(ROOT, '.cache/bench') },
        list: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw usage((error as Error).message);
  }
}

function chosenKinds(names: readonly string[] | undefined): readonly Kind[] {
  const unknown = names?.find((name) => !(name in KINDS));
  if (unknown !== undefined) throw usage(`no kind is called '${unknown}'`);
  return names === undefined ? KIND_NAMES : KIND_NAMES.filter((kind) => names.includes(kind));
}

function count(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (number > 0 && Number.isFinite(number)) return number;
  throw usage(`--${name} '${text}' is no number above 0`);
}

function usage(message: string): RawstorError {
  return new RawstorError('USAGE', message, { hint: 'see --list and --help' });
}
