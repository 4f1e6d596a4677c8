import type { KindReport } from './report.js';

/** One SVG of all kinds: for each case a bar a peer, as long as ours is faster than it. */

const WIDTH = 900;
const NAME_WIDTH = 330;
const BAR_HEIGHT = 14;
const MARGIN = 12;
/** Ratios on a scale of powers of two: as far to the left for half as to the right for twice. */
const LEAST = 1 / 4;
const MOST = 64;
const COLOURS = ['#3b6ea5', '#c8702a', '#4f8a4f', '#8a5a9e', '#9a8a2a', '#a54b52'];

interface Bar {
  label: string;
  ratio: number;
  colour: string;
}

export function chart(title: string, kinds: readonly KindReport[]): string {
  const body: string[] = [];
  let y = 46;
  for (const kind of kinds.filter(({ results }) => results.length > 0)) {
    body.push(text(MARGIN, y, kind.title, 'font-weight="bold" font-size="13"'));
    y += BAR_HEIGHT;
    const peers = [
      ...new Set(kind.results.flatMap(({ subjects }) => subjects.slice(1).map((one) => one.subject))),
    ];
    for (const { case: load, subjects } of kind.results) {
      const first = subjects[0]!;
      const bars = subjects.slice(1).map((one): Bar => {
        const colour = COLOURS[peers.indexOf(one.subject) % COLOURS.length]!;
        const ratio = first.operationsPerSecond.median / one.operationsPerSecond.median;
        return { label: `${load.name} / ${one.subject}`, ratio, colour };
      });
      for (const bar of bars) {
        body.push(...drawn(bar, y));
        y += BAR_HEIGHT;
      }
      y += 4;
    }
    y += MARGIN;
  }
  const grid = [0.5, 1, 2, 4, 8, 16, 32].flatMap((ratio) => [
    `<line x1="${place(ratio)}" x2="${place(ratio)}" y1="34" y2="${y}" stroke="${ratio === 1 ? '#444' : '#ccc'}"/>`,
    text(place(ratio), 30, `${ratio} x`, 'text-anchor="middle"'),
  ]);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" font-family="sans-serif" font-size="10">`,
    '<rect width="100%" height="100%" fill="white"/>',
    text(MARGIN, 16, `${title}: operations a second of rawstor / of the peer`, 'font-size="14"'),
    ...grid,
    ...body,
    '</svg>',
    '',
  ].join('\n');
}

function drawn({ label, ratio, colour }: Bar, y: number): string[] {
  const [one, end] = [place(1), place(ratio)];
  const width = Math.max(1, Math.abs(end - one)).toFixed(1);
  return [
    text(NAME_WIDTH - 6, y + 9, label, 'text-anchor="end"'),
    `<rect x="${Math.min(one, end).toFixed(1)}" y="${y}" width="${width}" height="${BAR_HEIGHT - 3}" fill="${colour}"/>`,
    text(Math.max(one, end) + 4, y + 9, ratio.toFixed(2)),
  ];
}

function place(ratio: number): number {
  const share = Math.log2(Math.min(MOST, Math.max(LEAST, ratio)) / LEAST) / Math.log2(MOST / LEAST);
  return NAME_WIDTH + share * (WIDTH - NAME_WIDTH - 50);
}

function text(x: number, y: number, content: string, more = ''): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escaped}</text>`;
}
