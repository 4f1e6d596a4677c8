import { readFileSync } from 'node:fs';

/** As the kernel lists file systems of ours. */
export const FUSE_TYPE = 'fuse.rawstor';

/** Directories of this machine that rawstor is mounted on, dead ones too. */
export function rawstorMounts(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [before = '', after = ''] = line.split(' - ');
      return after.startsWith(`${FUSE_TYPE} `) ? [unescaped(before.split(' ')[4] ?? '')] : [];
    });
}

/** Spaces and the like are in octal. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
