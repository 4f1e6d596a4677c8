import type { ServerResponse } from 'node:http';
import { S3Error } from './errors.js';
import type { S3Request } from './request.js';
import type { CorsRule } from './rows.js';

/** One `*` stands for anything. */
function fits(pattern: string, text: string): boolean {
  const at = pattern.indexOf('*');
  if (at < 0) return pattern === text;
  const [start, end] = [pattern.slice(0, at), pattern.slice(at + 1)];
  return text.length >= start.length + end.length && text.startsWith(start) && text.endsWith(end);
}

function find(
  rules: readonly CorsRule[],
  origin: string,
  method: string,
  headers: readonly string[],
): CorsRule | undefined {
  return rules.find(
    (rule) =>
      rule.methods.includes(method) &&
      rule.origins.some((one) => fits(one, origin)) &&
      headers.every((name) => rule.headers.some((one) => fits(one.toLowerCase(), name))),
  );
}

function allow(response: ServerResponse, rule: CorsRule, origin: string): void {
  const any = rule.origins.includes('*');
  response.setHeader('access-control-allow-origin', any ? '*' : origin);
  if (!any) response.setHeader('access-control-allow-credentials', 'true');
  response.setHeader('access-control-allow-methods', rule.methods.join(', '));
  // A rule that was put before such names were refused must not make each answer fail.
  const expose = rule.expose.map((name) => name.trim()).filter((name) => /^[\x21-\x7e]+$/.test(name));
  if (expose.length > 0) response.setHeader('access-control-expose-headers', expose.join(', '));
  response.setHeader('vary', 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method');
}

/** Tells a browser whether its page may see the answer. */
export function addCors(
  request: S3Request,
  response: ServerResponse,
  rules: readonly CorsRule[] | null,
): void {
  const origin = request.header('origin');
  if (origin === undefined || rules === null) return;
  const rule = find(rules, origin, request.method, []);
  if (rule !== undefined) allow(response, rule, origin);
}

/** A browser asks beforehand. @throws S3Error InvalidRequest, AccessDenied */
export function answerPreflight(
  request: S3Request,
  response: ServerResponse,
  rules: readonly CorsRule[] | null,
): void {
  const [origin, method] = [request.header('origin'), request.header('access-control-request-method')];
  if (origin === undefined || method === undefined) {
    throw new S3Error('InvalidRequest', 'Insufficient information. Origin request header needed.');
  }
  const asked = request.header('access-control-request-headers');
  const headers = (asked ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
  const rule = rules === null ? undefined : find(rules, origin, method, headers);
  if (rule === undefined) {
    throw new S3Error('AccessDenied', 'CORSResponse: This CORS request is not allowed.', { Method: method });
  }
  allow(response, rule, origin);
  if (asked !== undefined) response.setHeader('access-control-allow-headers', headers.join(', '));
  if (rule.maxAgeSeconds !== null) response.setHeader('access-control-max-age', String(rule.maxAgeSeconds));
  response.writeHead(200, { 'content-length': '0' });
  response.end();
}
