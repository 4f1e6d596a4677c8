import { describe, expect, it } from 'vitest';
import { LogOutput } from '../../../src/common/log-output.js';

/** A descriptor that takes so many bytes a call, or fails with that. */
function output(answers: (number | string)[]) {
  let written = '';
  const out = new LogOutput(2, ((_fd: number, bytes: Buffer) => {
    const answer = answers.shift() ?? bytes.length;
    if (typeof answer === 'string') throw Object.assign(new Error(answer), { code: answer });
    written += bytes.toString('utf8', 0, answer);
    return answer;
  }) as never);
  return { out, written: () => written };
}

describe('a log that cannot be written', () => {
  it('drops lines and tells how many when it can be written again', () => {
    const { out, written } = output(['ENOSPC', 'EIO']);
    out.write('a\n');
    out.write('b\n');
    expect(out.droppedLines).toBe(2);
    out.write('c\n');
    out.write('d\n');
    const [told, ...rest] = written().split('\n');
    expect(JSON.parse(told!)).toMatchObject({ droppedLines: 2, level: 40 });
    expect(rest).toEqual(['c', 'd', '']);
    expect(out.droppedLines).toBe(0);
  });

  it('goes on with a line of its own after one that was cut', () => {
    const { out, written } = output([3, 'ENOSPC']);
    out.write('abcdef\n');
    out.write('next\n');
    expect(written()).toMatch(/^abc\n\{.*"droppedLines":1.*\}\nnext\n$/);
  });

  it('waits a moment for a slow reader, not for ever', () => {
    const { out, written } = output(['EAGAIN', 'EAGAIN']);
    out.write('a\n');
    expect(written()).toBe('a\n');
    const stuck = output(Array.from({ length: 1000 }, () => 'EAGAIN'));
    stuck.out.write('a\n');
    expect(stuck.out.droppedLines).toBe(1);
  });
});
