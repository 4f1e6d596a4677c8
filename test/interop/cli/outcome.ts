import { expect } from 'vitest';
import type { Outcome } from './programs.js';

/** A program that has to succeed. @returns its stdout */
export function ok(outcome: Outcome): string {
  expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
  return outcome.stdout;
}
