import type { UseFormReturnType } from '@mantine/form';
import { asProblem } from '../api/problem';

/** Puts a problem beside the field that it names; answers whether there was one. */
export function beside<T extends object>(form: UseFormReturnType<T>, error: unknown): boolean {
  const field = asProblem(error).field;
  if (!field || !(field.name in form.getValues())) return false;
  form.setFieldError(field.name, field.fault);
  return true;
}
