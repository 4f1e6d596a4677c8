/** One planted bug: a rule of docs/consistency.md disabled by exact replacements in the source. */
export interface Mutant {
  /** Of the rule that it breaks. */
  readonly name: string;
  readonly edits: readonly Edit[];
  /** Looked for in histories with snapshots, clones and sizes. */
  readonly snapshots?: boolean;
  /** Looked for in histories whose guests move from gateway to gateway. */
  readonly handOvers?: boolean;
  /** Looked for in histories whose OSTs are put back from older copies. */
  readonly olderCopies?: boolean;
}

export interface Edit {
  /** Below src/. */
  readonly file: string;
  /** Occurs there exactly once. */
  readonly from: string;
  readonly to: string;
}

/** @throws Error when the text is not there, or not only once: the table has to follow the code */
export function applyEdit(source: string, { file, from, to }: Edit, name: string): string {
  const parts = source.split(from);
  if (parts.length === 2) return parts.join(to);
  throw new Error(`mutant '${name}': ${parts.length - 1} places in src/${file} instead of one with: ${from}`);
}

/** The histories that a mutant is looked for in. */
export type Kind = Required<Pick<Mutant, 'snapshots' | 'handOvers' | 'olderCopies'>>;

export function kindOf({ snapshots = false, handOvers = false, olderCopies = false }: Mutant): Kind {
  return { snapshots, handOvers, olderCopies };
}
