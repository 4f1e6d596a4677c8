import { DumpText } from '../../../src/mds/index.js';

/** A whole dump around its lines. */
export function dumpText(clusterId: string, lines: readonly string[], takenWallMs: number): string {
  const text = new DumpText(clusterId, takenWallMs);
  const pieces = [text.begin(), ...lines.map((line) => text.add([line]))];
  return Buffer.concat([...pieces, text.end()]).toString();
}
