import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import type { VerbSpec } from '../../../src/cli/command.js';
import { buildProgram, GLOBAL_OPTIONS } from '../../../src/cli/program.js';
import { PROGRAMS } from '../../../src/cli/programs.js';

function* verbsOf(verbs: readonly VerbSpec[], trail: string): Generator<[string, VerbSpec]> {
  for (const verb of verbs) {
    yield [`${trail} ${verb.name}`, verb];
    yield* verbsOf(verb.verbs ?? [], `${trail} ${verb.name}`);
  }
}

const ALL = PROGRAMS.flatMap((program) => [
  ...verbsOf(program.verbs, program.name),
  ...(program.only === undefined ? [] : [[program.name, program.only] as [string, VerbSpec]]),
]);

/** The command of a name such as `rawstor serve ost`. */
function commandOf(name: string): Command {
  const [program, ...verbs] = name.split(' ');
  const spec = PROGRAMS.find((each) => each.name === program)!;
  let command = buildProgram(spec, async () => {});
  for (const verb of verbs) command = command.commands.find((each) => each.name() === verb)!;
  return command;
}

function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (piece) => (text += piece) });
  command.outputHelp();
  return text;
}

describe('the command tree', () => {
  it('has the verbs of the conventions', () => {
    const names = ALL.map(([name]) => name);
    for (const verb of ['up', 'serve', 'serve ost', 'serve mds', 'serve mgs', 'serve nbd', 'serve node']) {
      expect(names).toContain(`rawstor ${verb}`);
    }
    for (const verb of ['status', 'df', 'ost ls', 'scrub']) expect(names).toContain(`rawstor ${verb}`);
    for (const verb of 'create ls info rm map du import export attach detach bench'.split(' ')) {
      expect(names).toContain(`rawstor-volume ${verb}`);
    }
  });

  it.each(ALL)('%s explains itself', (name, verb) => {
    const help = helpOf(commandOf(name));
    expect(help).toMatch(/^Usage: /);
    expect(verb.summary).toMatch(/^[a-z].*[^.]$/);
    // It ends with two examples, which are commands of ours.
    const examples = help.slice(help.indexOf('Examples:')).trim().split('\n').slice(1);
    expect(examples).toHaveLength(4);
    expect(examples[0]).toMatch(/^ {2}# /);
    expect(examples[1]).toMatch(/^ {2}rawstor(-volume)? /);
    for (const option of GLOBAL_OPTIONS) expect(help).toContain(option.flags);
  });

  it.each(ALL)('%s shadows no common option', (_name, verb) => {
    const common = GLOBAL_OPTIONS.flatMap((option) => option.flags.split(/[ ,]+/)).filter((f) =>
      f.startsWith('-'),
    );
    for (const option of verb.options ?? []) {
      for (const flag of option.flags.split(/[ ,]+/)) expect(common).not.toContain(flag);
    }
  });

  it.each(ALL)(
    '%s has no option that node takes for itself, even behind the name of the script',
    (_name, verb) => {
      for (const option of [...GLOBAL_OPTIONS, ...(verb.options ?? [])])
        expect(option.flags).not.toMatch(/^--env-file/);
    },
  );

  it('has examples that it takes itself', async () => {
    for (const [, verb] of ALL) {
      for (const { command } of verb.examples) {
        const words = shellWords(command.split(' | ')[0]!.split(' > ')[0]!);
        const spec = PROGRAMS.find((each) => each.name === words[0])!;
        let ran: VerbSpec | null = null;
        const program = buildProgram(spec, async (found) => {
          ran = found;
        });
        await program.parseAsync(words.slice(1), { from: 'user' });
        expect(ran, command).not.toBeNull();
      }
    }
  });
});

/** Words of a simple command, with quotes. */
function shellWords(line: string): string[] {
  const words = line.match(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g) ?? [];
  return words.map((word) => word.replace(/^(['"])(.*)\1$/, '$2'));
}
