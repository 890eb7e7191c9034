import { Paper, Text } from '@mantine/core';
import type { ReactNode } from 'react';

/** One figure with its name, and a word beside it. */
export function Tile({ name, children, note }: { name: string; children: ReactNode; note?: ReactNode }) {
  return (
    <Paper withBorder p="md" className="tile">
      <Text size="sm" c="dimmed">
        {name}
      </Text>
      <Text className="figure" component="div">
        {children}
      </Text>
      {note && (
        <Text size="xs" c="dimmed" component="div" mt={2}>
          {note}
        </Text>
      )}
    </Paper>
  );
}
