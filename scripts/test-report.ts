import { readFileSync } from 'node:fs';

/** What is used of vitest's JSON report. */
export interface Report {
  testResults: FileReport[];
}

export interface FileReport {
  /** The file's path. */
  name: string;
  status: string;
  message: string;
  assertionResults: { fullName: string; status: string; failureMessages?: string[] }[];
}

export function readReport(path: string): Report {
  return JSON.parse(readFileSync(path, 'utf8')) as Report;
}

/** Tests of this file that failed; the file itself, where it did not load and has no tests to count. */
export function failures(file: FileReport): { name: string; reason: string }[] {
  const failed = file.assertionResults.filter(({ status }) => status === 'failed');
  if (failed.length === 0 && file.status === 'failed') return [{ name: '(the file)', reason: file.message }];
  return failed.map((test) => ({ name: test.fullName, reason: test.failureMessages?.[0] ?? '' }));
}
