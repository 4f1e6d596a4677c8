import type { Writable } from 'node:stream';

export type OutputFormat = 'table' | 'json' | 'jsonl';
export const OUTPUT_FORMATS: readonly OutputFormat[] = ['table', 'json', 'jsonl'];

export interface Column<Row> {
  readonly header: string;
  readonly cell: (row: Row) => string;
  readonly right?: boolean;
}

/** Results, on stdout: for people as a table, for programs as JSON of the whole or one line an item. */
export class Output {
  readonly format: OutputFormat;
  private readonly stream: Writable;

  constructor(stream: Writable, format: OutputFormat) {
    this.stream = stream;
    this.format = format;
  }

  list<Row extends object>(rows: readonly Row[], columns: readonly Column<Row>[]): void {
    if (this.format === 'json') this.line(JSON.stringify(rows, null, 2));
    else if (this.format === 'jsonl') for (const row of rows) this.line(JSON.stringify(row));
    else for (const text of tableLines(rows, columns)) this.line(text);
  }

  /** One thing; `lines` is how people read it. */
  one(value: object, lines: () => readonly string[]): void {
    if (this.format === 'json') this.line(JSON.stringify(value, null, 2));
    else if (this.format === 'jsonl') this.line(JSON.stringify(value));
    else for (const text of lines()) this.line(text);
  }

  line(text: string): void {
    this.stream.write(`${text}\n`);
  }
}

export function tableLines<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string[] {
  const cells = [
    columns.map((column) => column.header),
    ...rows.map((row) => columns.map((column) => printable(column.cell(row)))),
  ];
  const widths = columns.map((_, at) => Math.max(...cells.map((row) => row[at]!.length)));
  return cells.map((row) =>
    row
      .map((text, at) =>
        columns[at]!.right === true ? text.padStart(widths[at]!) : text.padEnd(widths[at]!),
      )
      .join('  ')
      .trimEnd(),
  );
}

/** Lines of `label   value`. */
export function factLines(facts: readonly (readonly [string, string])[], indent = ''): string[] {
  const width = Math.max(...facts.map(([label]) => label.length));
  return facts.map(([label, value]) => `${indent}${label.padEnd(width)}  ${printable(value)}`.trimEnd());
}

/** Texts from elsewhere must not move the cursor or change colours. */
function printable(text: string): string {
  return [...text].map((letter) => (isControl(letter.codePointAt(0)!) ? '\uFFFD' : letter)).join('');
}

function isControl(code: number): boolean {
  return code < 0x20 || (code >= 0x7f && code < 0xa0);
}
